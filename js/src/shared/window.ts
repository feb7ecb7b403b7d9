// What a widget takes for the height of the window: its pictures leave room for what is below them.

const SHARE = 0.85; // of the screen: what a window has of it

/**
 * A frame that grows with what is in it, as the outputs of Colab and VS Code do, says nothing about the window: then
 * most of the screen is taken. A Jupyter page scrolls within itself, also in a frame, and a page that knows better says
 * so in the same property.
 */
export function measureWindow(el: Element): void {
  const page = document.documentElement;
  const known = window.top === window || el.closest(".jp-Cell") || getComputedStyle(page).getPropertyValue("--dlw-window");
  if (!known) page.style.setProperty("--dlw-window", `${Math.round(SHARE * screen.availHeight)}px`);
}
