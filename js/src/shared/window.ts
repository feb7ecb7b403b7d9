// What a widget takes for the height of the window: its pictures leave room for what is below them.

/**
 * A frame that is as high as what is in it, as those of Colab and VS Code, says nothing about the window. Then most of
 * the screen is taken; a page that knows better says so itself, in the same property.
 */
export function measureWindow(): void {
  const { style } = document.documentElement;
  const said = getComputedStyle(document.documentElement).getPropertyValue("--dlw-window");
  if (window.top !== window && !said) style.setProperty("--dlw-window", `${Math.round(0.85 * screen.availHeight)}px`);
}
