// Save: files that the browser downloads.

/** Let the browser save `blob` under `name`. */
export function download(blob: Blob, name: string): void {
  const url = URL.createObjectURL(blob);
  const link = document.createElement("a");
  link.href = url;
  link.download = name;
  link.click();
  setTimeout(() => URL.revokeObjectURL(url), 10_000); // the download has begun long before
}

/** A file name from words: letters and digits of any language and hyphens, at most 60 of them. */
export function fileName(...words: (string | number)[]): string {
  const slug = words.join(" ").toLowerCase().replace(/[^\p{L}\p{N}]+/gu, "-");
  return slug.slice(0, 60).replace(/^-+|-+$/g, "") || "lens";
}

/** A picture that can be drawn at once. */
export type Bitmap = ImageBitmap | HTMLCanvasElement;

/** Save a picture as PNG, in its own size. */
export function savePng(bitmap: Bitmap, name: string): void {
  const canvas = document.createElement("canvas");
  canvas.width = bitmap.width;
  canvas.height = bitmap.height;
  canvas.getContext("2d")!.drawImage(bitmap, 0, 0);
  canvas.toBlob((blob) => blob && download(blob, `${name}.png`), "image/png");
}
