// Layers: plays a run's layers, for widgets that have no other axis.
import type { CommonTraits } from "./model";
import type { Session } from "./session";

interface LayerTraits extends CommonTraits {
  layer: number;
  layers: number[];
}

/** Returns what a player calls: go to the next layer that has a picture `KIND/LAYER`; false if there is none. */
export function nextLayer<T extends LayerTraits>(kind: string): (session: Session<T>) => boolean {
  return (session) => {
    const { model, player, store } = session as unknown as Session<LayerTraits>;
    const layers = model.get("layers");
    const at = layers.indexOf(model.get("layer"));
    const ahead = [...layers.slice(at + 1), ...layers.slice(0, at)];
    const next = (player.way === "layer-" ? ahead.reverse() : ahead).find((layer) => store.get(`${kind}/${layer}`));
    if (next !== undefined) (session as unknown as Session<LayerTraits>).set("layer", next);
    return next !== undefined;
  };
}
