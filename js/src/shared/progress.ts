// Progress in words: how many pictures are finished, and how long the rest takes.
import type { Status } from "./model";

/** For example `9 of 13 layers · 4.1 s left`; `left` is in seconds, `unit` is what is counted. */
export function progressText(
  status: Status,
  painted: number,
  total: number,
  unit: string,
  left?: number | null,
): string {
  const count = `${painted} of ${total} ${unit}`;
  if (status === "stopped") return `stopped · ${count}`;
  if (status === "running") return typeof left === "number" ? `${count} · ${duration(left)} left` : count;
  if (painted !== total) return count;
  return total === 1 ? `1 ${unit.replace(/s\b/, "")}` : `${total} ${unit}`;
}

function duration(seconds: number): string {
  if (seconds < 10) return `${seconds.toFixed(1)} s`;
  if (seconds < 90) return `${Math.round(seconds)} s`;
  return `${Math.round(seconds / 60)} min`;
}
