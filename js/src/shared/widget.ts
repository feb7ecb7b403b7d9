// Widget: the anywidget definition of all widgets: one session for each model, one view for each of its outputs.
import type { CommonTraits, Model } from "./model";
import type { Session } from "./session";

interface View {
  attach(el: HTMLElement): void;
  dispose(): void;
}

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
        if (!session) throw new Error("the widget was not initialized");
        session.folded = folded ?? session.folded;
        const view = open(session);
        view.attach(el);
        return () => view.dispose();
      },
    };
  };
}
