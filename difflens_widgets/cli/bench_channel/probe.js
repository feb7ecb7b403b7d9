// Measures a page from inside: runs before all of its scripts. `difflensProbe` is what `bench_channel` reads.
(() => {
  const probe = { bitmaps: 0, pixels: 0, mostBitmaps: 0, mostPixels: 0, urls: 0 };
  window.difflensProbe = probe;

  const create = window.createImageBitmap;
  window.createImageBitmap = async function (...given) {
    const bitmap = await create.apply(this, given);
    probe.bitmaps++;
    probe.pixels += bitmap.width * bitmap.height;
    probe.mostBitmaps = Math.max(probe.mostBitmaps, probe.bitmaps);
    probe.mostPixels = Math.max(probe.mostPixels, probe.pixels);
    return bitmap;
  };
  const close = ImageBitmap.prototype.close;
  ImageBitmap.prototype.close = function () {
    if (this.width) probe.bitmaps--; // a closed one has no size
    probe.pixels -= this.width * this.height;
    close.call(this);
  };
  const [make, revoke] = [URL.createObjectURL, URL.revokeObjectURL];
  URL.createObjectURL = (...given) => (probe.urls++, make.apply(URL, given));
  URL.revokeObjectURL = (...given) => (probe.urls--, revoke.apply(URL, given));

  // From a key to its picture on screen: the first task after the frame that the picture was drawn in.
  let began = null; // when the key was pressed, ms
  let settle = null;
  let inFrame = false;
  const after = new MessageChannel();
  const due = [];
  after.port1.onmessage = () => due.splice(0).forEach((call) => call());
  const afterTask = (call) => (due.push(call), after.port2.postMessage(null));
  const request = window.requestAnimationFrame;
  window.requestAnimationFrame = (call) =>
    request((time) => {
      inFrame = true;
      afterTask(() => (inFrame = false));
      call(time);
    });
  const draw = CanvasRenderingContext2D.prototype.drawImage;
  CanvasRenderingContext2D.prototype.drawImage = function (...given) {
    draw.apply(this, given);
    if (began === null || !this.canvas.matches?.(".dlw-picture")) return;
    const since = began;
    began = null;
    const painted = () => settle(performance.now() - since);
    if (inFrame) afterTask(painted);
    else request(() => afterTask(painted)); // drawn between two frames: the next one shows it
  };
  addEventListener("keydown", (event) => settle && (began = event.timeStamp), true);

  /** Begin to wait for a key; `painted` then gives the milliseconds from the key to its picture. */
  probe.expect = () => void (probe.painted = new Promise((done) => (settle = done)));

  /** A slider that does nothing but draw a picture that is ready: what the browser itself needs. */
  probe.bare = async (side, count) => {
    const box = document.createElement("div");
    box.style.cssText = "position:fixed;inset:0 auto auto 0;z-index:99999;background:white";
    const range = Object.assign(document.createElement("input"), { type: "range", min: 0, max: count - 1, value: 0 });
    range.setAttribute("data-lm-suppress-shortcuts", "true");
    const canvas = Object.assign(document.createElement("canvas"), { width: side, height: side });
    canvas.className = "dlw-picture";
    box.append(range, canvas);
    document.body.append(box);
    const ready = [];
    for (let index = 0; index < count; index++) {
      const drawn = new OffscreenCanvas(side, side);
      const pen = drawn.getContext("2d");
      pen.fillStyle = `hsl(${(360 * index) / count} 80% 50%)`;
      pen.fillRect(0, 0, side, side);
      ready.push(drawn.transferToImageBitmap());
    }
    range.oninput = () => {
      requestAnimationFrame(() => canvas.getContext("2d").drawImage(ready[Number(range.value)], 0, 0));
    };
    range.focus();
    probe.endBare = () => (box.remove(), ready.forEach((bitmap) => close.call(bitmap)));
  };
})();
