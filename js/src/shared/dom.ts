// Elements made without HTML: the text of a prompt or an error always becomes a text node.

/** JupyterLab takes arrow keys and space away from a focused element unless the element itself has this attribute. */
export const SUPPRESS = "data-lm-suppress-shortcuts";

type Child = Node | string | null | false;
type Attributes = Record<string, string | number | boolean | null | ((event: any) => void)>;

/** Make an element. An attribute that is a function is a listener; `true` is an attribute without value. */
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

/** Replace the children of an element; null and false are left out. */
export function put(element: Element, ...children: Child[]): void {
  element.replaceChildren(...children.filter((child): child is Node | string => child !== null && child !== false));
}

/** Set the text of an element only if it changed, to keep the user's selection and a screen reader's position. */
export function write(element: Element, text: string): void {
  if (element.textContent !== text) element.textContent = text;
}

/** The element with the keyboard focus, as a view sees it: marimo shows it in a shadow tree, whose host is all that the document knows. */
export function focusNear(element: Element): Element | null {
  return (element.getRootNode() as Document | ShadowRoot).activeElement ?? null;
}

/** A native slider over an axis; `go` is called with the index that the user goes to. */
export function axisRange(name: string, look: string, go: (index: number) => void): HTMLInputElement {
  const input = () => go(Number(range.value));
  const axis = { type: "range", min: 0, step: 1, "aria-label": name, [SUPPRESS]: "true" };
  const range = h("input", { class: look, ...axis, input });
  return range;
}

/** A button; `title` is its tooltip. */
export function button(label: string, title: string, press: () => void): HTMLButtonElement {
  return h("button", { type: "button", class: "dlw-button", title, [SUPPRESS]: "true", click: press }, label);
}
