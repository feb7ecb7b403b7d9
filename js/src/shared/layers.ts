// Layers: the way through a run's layers, for widgets that have no other axis to play.
import type { CommonTraits } from "./model";
import type { Session } from "./session";

interface LayerTraits extends CommonTraits {
  layer: number;
  layers: number[];
}

/** Shows the next layer that has a picture called `KIND/LAYER`, round and round, and says whether there was one. */
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
