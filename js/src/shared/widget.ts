// Widget: the anywidget definition of all widgets: one session for each model, one view for each of its outputs.
import type { CommonTraits, Model } from "./model";
import { Outlet, type View } from "./outlet";
import type { Session } from "./session";

/**
 * A function that makes the definition of one model. Every host (anywidget in JupyterLab, in Colab and in VS Code, and
 * marimo) calls it once for each model, so what it closes over belongs to that model. No other key works everywhere:
 * `initialize` and `render` get different proxies of the model, and marimo gives each proxy a new `widget_manager`.
 */
export function widget<T extends CommonTraits>(
  begin: (model: Model<T>) => Session<T>,
  open: (session: Session<T>) => View,
) {
  return () => {
    let session: Session<T> | undefined;
    const outlets = new Set<Outlet>();
    return {
      initialize({ model }: { model: Model<T> }) {
        const begun = (session = begin(model));
        return () => {
          begun.dispose();
          if (session === begun) session = undefined;
        };
      },
      /** `folded` is given where one widget shows another: see `Session.folded`. */
      render({ el, folded }: { el: HTMLElement; folded?: boolean }) {
        const begun = session;
        if (!begun) throw new Error("the widget was not initialized");
        begun.folded = folded ?? begun.folded;
        for (const each of outlets) each.look(); // one that was replaced on a hidden page did not notice
        const outlet = new Outlet(el, () => open(begun));
        outlets.add(outlet);
        return () => {
          outlets.delete(outlet);
          outlet.dispose();
        };
      },
    };
  };
}
