// Controls: the prompt of the images, and the metric that colors the matrix; and the list of alarms.
import { button, h, put, SUPPRESS, write } from "../shared/dom";
import { METRICS, type Alarm, type Metric, type ValidationPrompt } from "./scene";

const ROLES: Record<ValidationPrompt["role"], string> = { instance: "subject", class: "class", control: "control" };
const COLORINGS: [metric: Metric | "", label: string, title: string][] = [
  ["", "off", "The images without colors"],
  ...(Object.keys(METRICS) as Metric[]).map((metric): [Metric, string, string] => [metric, ...METRICS[metric]]),
];

export class ScrubControls {
  readonly el = h("div", { class: "dlw-controls" });
  private readonly prompt: HTMLSelectElement;
  private readonly colorings: Map<string, HTMLButtonElement>;
  private known = "";

  constructor(does: { prompt(index: number): void; colorBy(metric: Metric | ""): void }) {
    this.prompt = h("select", {
      class: "dlw-select",
      "aria-label": "Prompt",
      title: "The prompt of the images (keys 1 to 9)",
      [SUPPRESS]: "true",
      change: () => does.prompt(Number(this.prompt.value)),
    });
    this.colorings = new Map(
      COLORINGS.map(([metric, label, title]) => [metric, button(label, title, () => does.colorBy(metric))]),
    );
    const label = (text: string) => h("span", { class: "dlw-label", "aria-hidden": "true" }, text);
    const group = { class: "dlw-group", role: "group" };
    put(
      this.el,
      h("div", group, label("Prompt"), this.prompt),
      h("div", { ...group, "aria-label": "Color by drift" }, label("Color by drift"), ...this.colorings.values()),
    );
  }

  update(prompts: ValidationPrompt[], current: number, metric: string, measured: boolean): void {
    this.el.hidden = !prompts.length;
    const known = JSON.stringify(prompts.map((each) => [each.prompt, each.role, each.seed_offset]));
    if (known !== this.known) {
      const name = ({ prompt, role, seed_offset }: ValidationPrompt) =>
        `${ROLES[role]}: ${prompt}${seed_offset ? ` · seed +${seed_offset}` : ""}`;
      put(this.prompt, ...prompts.map((each, at) => h("option", { value: at }, name(each))));
    }
    this.known = known;
    this.prompt.value = String(current);
    for (const [each, press] of this.colorings) {
      press.setAttribute("aria-pressed", String(each === metric));
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
