// Controls: whose pictures, and what the matrix is coloured by; and the list of alarms.
import { button, h, put, SUPPRESS, write } from "../shared/dom";
import { MEASURES, type Alarm, type Measure, type Probe } from "./scene";

const ROLES: Record<Probe["role"], string> = { instance: "subject", class: "class", control: "control" };
const COLOURS: [colour: Measure | "", label: string, title: string][] = [
  ["", "off", "The pictures as they are"],
  ...(Object.keys(MEASURES) as Measure[]).map((measure): [Measure, string, string] => [measure, ...MEASURES[measure]]),
];

export class ScrubControls {
  readonly el = h("div", { class: "dlw-controls" });
  private readonly probe: HTMLSelectElement;
  private readonly colours: Map<string, HTMLButtonElement>;
  private known = "";

  constructor(does: { probe(probe: number): void; colour(colour: Measure | ""): void }) {
    this.probe = h("select", {
      class: "dlw-select",
      "aria-label": "Prompt",
      title: "Whose pictures are shown (keys 1 to 9)",
      [SUPPRESS]: "true",
      change: () => does.probe(Number(this.probe.value)),
    });
    this.colours = new Map(
      COLOURS.map(([colour, label, title]) => [colour, button(label, title, () => does.colour(colour))]),
    );
    const label = (text: string) => h("span", { class: "dlw-label", "aria-hidden": "true" }, text);
    const group = { class: "dlw-group", role: "group" };
    put(
      this.el,
      h("div", group, label("Prompt"), this.probe),
      h("div", { ...group, "aria-label": "Colour by drift" }, label("Colour by drift"), ...this.colours.values()),
    );
  }

  update(probes: Probe[], probe: number, colour: string, measured: boolean): void {
    this.el.hidden = !probes.length;
    const known = JSON.stringify(probes.map(({ prompt, role, noise }) => [prompt, role, noise]));
    if (known !== this.known) {
      const name = ({ prompt, role, noise }: Probe) => `${ROLES[role]}: ${prompt}${noise ? ` · noise ${noise + 1}` : ""}`;
      put(this.probe, ...probes.map((each, at) => h("option", { value: at }, name(each))));
    }
    this.known = known;
    this.probe.value = String(probe);
    for (const [each, press] of this.colours) {
      press.setAttribute("aria-pressed", String(each === colour));
      press.disabled = !measured;
    }
  }
}

export class AlarmList {
  readonly el = h("div", { class: "dlw-alarms", role: "list", "aria-label": "Alarms" });
  private known = "";

  constructor(private readonly go: (alarm: Alarm) => void) {}

  update(alarms: Alarm[]): void {
    this.el.hidden = !alarms.length;
    const known = JSON.stringify(alarms);
    if (known === this.known) return;
    this.known = known;
    put(
      this.el,
      ...alarms.map((alarm) => {
        const press = button("", "Go to this epoch and layer", () => this.go(alarm));
        write(press, `epoch ${alarm.epoch}, layer ${alarm.layer}`);
        const words = h("span", {}, ` ${alarm.kind}: ${alarm.message}`);
        return h("div", { class: "dlw-alarm dlw-flagged", role: "listitem" }, press, words);
      }),
    );
  }
}
