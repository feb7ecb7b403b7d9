// Player: shows one picture after another, round and round, at a chosen speed; one per model.
import { Emitter } from "./emitter";
import type { Way } from "./spots";

export const SPEEDS = [1, 2, 4, 8] as const;

export class Player extends Emitter {
  playing = false;
  speed: number = 2; // pictures per second
  way: Way = "layer+";
  #timer = 0;

  /** `next` shows the next picture, and returns false if there is none. */
  constructor(private readonly next: () => boolean) {
    super();
  }

  toggle(): void {
    if (this.playing) this.pause();
    else this.play();
  }

  play(): void {
    this.playing = this.next();
    if (this.playing) this.#schedule();
    this.notify();
  }

  pause(): void {
    clearTimeout(this.#timer);
    if (!this.playing) return;
    this.playing = false;
    this.notify();
  }

  setSpeed(speed: number): void {
    this.speed = speed;
    if (this.playing) this.#schedule();
    this.notify();
  }

  setWay(way: Way): void {
    this.way = way;
    this.notify();
  }

  #schedule(): void {
    clearTimeout(this.#timer);
    this.#timer = window.setTimeout(() => (this.next() ? this.#schedule() : this.pause()), 1000 / this.speed);
  }
}
