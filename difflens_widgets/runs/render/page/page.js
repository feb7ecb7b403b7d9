// Replaces the kernel: each slider of the page gets a model whose state is in the page itself.

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

function unpack({ state, buffers }) {
  for (const { path, base64 } of buffers) {
    const bytes = Uint8Array.from(atob(base64), (letter) => letter.charCodeAt(0));
    const holder = path.slice(0, -1).reduce((value, key) => value[key], state);
    holder[path.at(-1)] = new DataView(bytes.buffer);
  }
  return state;
}

async function show(packed, section) {
  const view = section.querySelector(".view");
  try {
    const { default: define } = await bundle;
    const widget = define(); // one for each model
    const model = new StaticModel(unpack(packed));
    await widget.initialize?.({ model });
    await widget.render({ model, el: view });
  } catch (error) {
    console.error(error);
    view.textContent = `The slider does not work in this browser (${error}). These are its pictures:`;
    view.insertAdjacentHTML("afterend", section.querySelector("noscript").textContent);
  }
}

const data = JSON.parse(document.getElementById("difflens-data").textContent);
const address = URL.createObjectURL(new Blob([data.module], { type: "text/javascript" }));
const bundle = import(address);
const sections = document.querySelectorAll("main > section");
await Promise.all(data.runs.map((packed, index) => show(packed, sections[index])));
URL.revokeObjectURL(address);
