// Widget: the anywidget definition that all widgets have: one session for a model, a view for each of its outputs.
import type { CommonTraits, Model } from "./model";
import { Session, sessionsOf } from "./session";

interface View {
  attach(el: HTMLElement): void;
  dispose(): void;
}

export function widget<T extends CommonTraits>(
  begin: (model: Model<T>) => Session<T>,
  open: (session: Session<T>) => View,
) {
  return {
    initialize({ model }: { model: Model<T> }) {
      const session = begin(model);
      const known = sessionsOf(model);
      const uid = model.get("_uid");
      known.set(uid, session);
      return () => {
        session.dispose();
        if (known.get(uid) === session) known.delete(uid);
      };
    },
    render({ model, el }: { model: Model<T>; el: HTMLElement }) {
      const session = sessionsOf(model).get(model.get("_uid"));
      if (!session) throw new Error("the widget was not initialized");
      const view = open(session);
      view.attach(el);
      return () => view.dispose();
    },
  };
}
