// Player: goes through the pictures, one way or another, at a chosen speed, round and round; one per model.
import { Emitter } from "./emitter";
import type { Way } from "./spots";

export const SPEEDS = [1, 2, 4, 8] as const;

export class Player extends Emitter {
  playing = false;
  speed: number = 2;
  way: Way = "layer+";
  private timer = 0;

  /** `next` goes one place on, and says whether it could. */
  constructor(private readonly next: () => boolean) {
    super();
  }

  toggle(): void {
    if (this.playing) this.pause();
    else this.play();
  }

  play(): void {
    this.playing = this.next();
    if (this.playing) this.schedule();
    this.notify();
  }

  pause(): void {
    clearTimeout(this.timer);
    if (!this.playing) return;
    this.playing = false;
    this.notify();
  }

  setSpeed(speed: number): void {
    this.speed = speed;
    if (this.playing) this.schedule();
    this.notify();
  }

  setWay(way: Way): void {
    this.way = way;
    this.notify();
  }

  private schedule(): void {
    clearTimeout(this.timer);
    this.timer = window.setTimeout(() => (this.next() ? this.schedule() : this.pause()), 1000 / this.speed);
  }
}
