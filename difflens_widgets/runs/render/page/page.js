// Replaces the kernel: each widget of the page gets a model whose state is in the page itself.

class StaticModel {
  #state;
  #listeners = new Map();

  constructor(state) {
    this.#state = state;
  }

  get(name) {
    return this.#state[name];
  }

  set(names, value) {
    const changes = typeof names === "string" ? { [names]: value } : names;
    const changed = Object.keys(changes).filter((name) => !Object.is(this.#state[name], changes[name]));
    for (const name of changed) this.#state[name] = changes[name];
    for (const name of changed) this.#notify(`change:${name}`, this, changes[name]);
    if (changed.length) this.#notify("change", this);
  }

  save_changes() {} // no kernel has a copy of the state

  send() {} // no kernel listens

  on(events, listener) {
    for (const event of events.split(" ")) {
      if (!this.#listeners.has(event)) this.#listeners.set(event, new Set());
      this.#listeners.get(event).add(listener);
    }
  }

  off(events, listener) {
    for (const event of events ? events.split(" ") : [...this.#listeners.keys()]) {
      if (listener) this.#listeners.get(event)?.delete(listener);
      else this.#listeners.delete(event);
    }
  }

  #notify(event, ...what) {
    for (const listener of [...(this.#listeners.get(event) ?? [])]) listener(...what);
  }
}

async function unpack({ state, buffers }) {
  for (const { path, gzip, base64 } of buffers) {
    let bytes = Uint8Array.from(atob(base64), (letter) => letter.charCodeAt(0));
    if (gzip) {
      const stream = new Blob([bytes]).stream().pipeThrough(new DecompressionStream("gzip"));
      bytes = new Uint8Array(await new Response(stream).arrayBuffer());
    }
    const holder = path.slice(0, -1).reduce((value, key) => value[key], state);
    holder[path.at(-1)] = new DataView(bytes.buffer);
  }
  return state;
}

/** In the output of a cell: the notebook says with the height of the frame whether it is light or dark. */
function takeTheme() {
  const root = document.documentElement;
  const more = innerHeight - Number(root.dataset.height);
  if (more > 4 && more < 20) root.setAttribute("theme", more > 12 ? "dark" : "light");
  else root.removeAttribute("theme");
}

if (document.documentElement.dataset.height) {
  addEventListener("resize", takeTheme);
  takeTheme();
}

const data = JSON.parse(document.getElementById("difflens-data").textContent);
const bundles = new Map();
const begun = new Set(); // indices of the views that are shown, or will be in a moment
const shown = new Map(); // index of a view → its model
const sections = [...document.querySelectorAll("main > section")];
const menu = document.querySelector("nav");

function load(name) {
  if (!bundles.has(name)) {
    const address = URL.createObjectURL(new Blob([data.modules[name]], { type: "text/javascript" }));
    bundles.set(name, import(address).finally(() => URL.revokeObjectURL(address)));
  }
  return bundles.get(name);
}

/** The views of one run, comparison or training go to a layer together. */
function link(index, model) {
  const others = [...shown].filter(([each]) => data.views[each].group === data.views[index].group);
  for (const [, other] of others) {
    for (const [from, to] of [[model, other], [other, model]]) {
      from.on("change:layer", () => to.get("layers").includes(from.get("layer")) && to.set("layer", from.get("layer")));
    }
    if (model.get("layers").includes(other.get("layer"))) model.set("layer", other.get("layer"));
  }
  shown.set(index, model);
}

/** Show a view, if it is not there yet: one that nobody looks at takes no memory. */
async function show(index) {
  if (begun.has(index)) return;
  begun.add(index);
  const section = sections[index];
  const view = section.querySelector(".view");
  try {
    const model = new StaticModel(await unpack(data.views[index]));
    link(index, model);
    const { default: define } = await load(data.views[index].module);
    const widget = define(); // one for each model
    await widget.initialize?.({ model });
    await widget.render({ model, el: view });
  } catch (error) {
    console.error(error);
    view.textContent = `This does not work in this browser (${error}). These are its pictures:`;
    view.insertAdjacentHTML("afterend", section.querySelector("noscript").textContent);
  }
}

/** Show one view and hide the others; the number after the last one stands for all of them. */
async function choose(chosen) {
  const all = chosen === sections.length;
  document.querySelector("main").classList.toggle("all", all);
  sections.forEach((section, index) => (section.hidden = !all && index !== chosen));
  [...(menu?.children ?? [])].forEach((item, index) => item.setAttribute("aria-pressed", String(index === chosen)));
  for (const index of sections.keys()) if (all || index === chosen) await show(index);
}

if (menu) {
  menu.hidden = false;
  [...menu.children].forEach((item, index) => item.addEventListener("click", () => choose(index)));
}
await choose(0);
// on a page of its own the arrow keys work at once
if (!document.documentElement.dataset.height) {
  const axes = [...document.querySelectorAll(".view .dlw-film input, .view [role=gridcell][tabindex='0']")];
  axes.find((axis) => axis.checkVisibility())?.focus({ preventScroll: true });
}
