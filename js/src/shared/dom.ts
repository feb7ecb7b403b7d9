// Elements without HTML: text of a prompt or an error only ever becomes a text node.

/** JupyterLab takes arrow keys and space from a focused element that does not have this attribute itself. */
export const SUPPRESS = "data-lm-suppress-shortcuts";

type Child = Node | string | null | false;
type Attributes = Record<string, string | number | boolean | null | ((event: any) => void)>;

/** Make an element; attributes that are functions are listeners, `true` is an attribute without value. */
export function h<K extends keyof HTMLElementTagNameMap>(
  tag: K,
  attributes: Attributes = {},
  ...children: Child[]
): HTMLElementTagNameMap[K] {
  const element = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) {
    if (typeof value === "function") element.addEventListener(name, value);
    else if (value !== null && value !== false) element.setAttribute(name, value === true ? "" : String(value));
  }
  put(element, ...children);
  return element;
}

/** Replace what is in an element. */
export function put(element: Element, ...children: Child[]): void {
  element.replaceChildren(...children.filter((child): child is Node | string => child !== null && child !== false));
}

/** Write text only where it changed, so that a reader's selection and a screen reader's place survive. */
export function write(element: Element, text: string): void {
  if (element.textContent !== text) element.textContent = text;
}

/** A native slider over the places of an axis. */
export function axisRange(name: string, look: string, go: (index: number) => void): HTMLInputElement {
  const input = () => go(Number(range.value));
  const axis = { type: "range", min: 0, step: 1, "aria-label": name, [SUPPRESS]: "true" };
  const range = h("input", { class: look, ...axis, input });
  return range;
}

/** A quiet button. */
export function button(label: string, title: string, press: () => void): HTMLButtonElement {
  return h("button", { type: "button", class: "dlw-button", title, [SUPPRESS]: "true", click: press }, label);
}
