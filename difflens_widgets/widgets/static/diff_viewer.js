// src/diff_viewer_help.ts
var HELP = {
	title: "What am I looking at?",
	paragraphs: [
		"Two models painted the same prompt from the same noise, once for every layer of the text encoder: raw, and tuned. Where their pictures differ, the tuning made the difference.",
		"Side by side; a curtain to draw, raw to the left of it; blink, one after the other in one place; or the difference of the pixels, on one scale for all layers. 2 × 2 crosses the parts: the encoder of one model with the U-Net of the other tells in which of them the change sits.",
		"The curve: how far the two are apart at each layer. State cosine compares the encoder’s states, latent distance what the denoiser made of them, SSIM the pictures. Attribution: how much of the change the tuned encoder makes alone, the tuned U-Net alone, and only both together; the three sum to 1.",
		"A word of the prompt: where the tuned model looks at it more (warm) or less (cool) than the raw one did."
	],
	keys: [
		["← →", "one layer back, on; on the curtain: draw it"],
		["Home End", "first, last"],
		["1 – 9", "attention to a word"],
		["Enter", "in blink: the other picture"],
		["Esc", "no word; close"],
		["Space", "play, pause"],
		["?", "this help"]
	],
	marks: [
		["done", "painted by both"],
		["hollow", "not computed"],
		["failed", "failed; its reason on hover"]
	]
};

// src/shared/dom.ts
var SUPPRESS = "data-lm-suppress-shortcuts";
function h(tag, attributes = {}, ...children) {
	const element = document.createElement(tag);
	for (const [name, value] of Object.entries(attributes)) {
		if (typeof value === "function") element.addEventListener(name, value);
		else if (value !== null && value !== false) element.setAttribute(name, value === true ? "" : String(value));
	}
	put(element, ...children);
	return element;
}
function put(element, ...children) {
	element.replaceChildren(...children.filter((child) => child !== null && child !== false));
}
function write(element, text) {
	if (element.textContent !== text) element.textContent = text;
}
function axisRange(name, look, go) {
	const input = () => go(Number(range.value));
	const axis = { type: "range", min: 0, step: 1, "aria-label": name, [SUPPRESS]: "true" };
	const range = h("input", { class: look, ...axis, input });
	return range;
}
function button(label, title, press) {
	return h("button", { type: "button", class: "dlw-button", title, [SUPPRESS]: "true", click: press }, label);
}

// src/attention/heat.ts
var WARM = "2a090b 4b1714 6f271a 903d21 b15425 ca7522 df9827 ecbe4e f5e378";
var COOL = "141030 232356 2f3980 3a53a2 4470c4 4393d8 4eb5e8 73d4f1 a0f1fb";
var SMALLEST = 512;
var TABLES = [WARM, COOL].map(table);
function paintHeat(canvas, heats) {
	const { width, height } = heats[0].plane;
	if (canvas.width !== width) canvas.width = width;
	if (canvas.height !== height) canvas.height = height;
	const image = new ImageData(width, height);
	heats.forEach(({ plane: { values, scale }, most, ramp }, index) => {
		values.forEach((value, at) => {
			const share = most ? Math.min(255, Math.round(value * scale / most)) : 0;
			for (let channel = 0; channel < 3; channel++) {
				const ours = TABLES[ramp][3 * share + channel];
				const theirs = image.data[4 * at + channel];
				image.data[4 * at + channel] = index ? 255 - (255 - ours) * (255 - theirs) / 255 : ours;
			}
			image.data[4 * at + 3] = 255;
		});
	});
	canvas.getContext("2d").putImageData(image, 0, 0);
}
function overPicture(picture, heat, opacity) {
	const factor = Math.ceil(SMALLEST / Math.max(picture.width, picture.height));
	const canvas = h("canvas", { width: picture.width * factor, height: picture.height * factor });
	const fill = [0, 0, canvas.width, canvas.height];
	const pen = canvas.getContext("2d");
	pen.imageSmoothingEnabled = false;
	pen.drawImage(picture, ...fill);
	pen.globalCompositeOperation = "saturation";
	pen.fillStyle = "#808080";
	pen.fillRect(...fill);
	pen.globalCompositeOperation = "source-over";
	pen.globalAlpha = opacity;
	pen.drawImage(heat, ...fill);
	return canvas;
}
function table(ramp) {
	const stops = ramp.split(" ").map((stop) => [0, 2, 4].map((at) => parseInt(stop.slice(at, at + 2), 16)));
	const colours = new Uint8ClampedArray(3 * 256);
	for (let value = 0; value < 256; value++) {
		const place = value / 255 * (stops.length - 1);
		const below = Math.min(stops.length - 2, Math.floor(place));
		for (let channel = 0; channel < 3; channel++) {
			const [from, to] = [stops[below][channel], stops[below + 1][channel]];
			colours[3 * value + channel] = from + (to - from) * (place - below);
		}
	}
	return colours;
}

// src/attention/maps.ts
function digits(value) {
	return value && value < 99.5 ? value.toPrecision(2) : String(Math.round(value));
}

// src/diff/maps.ts
var ZERO = 128;
var STEPS = 127;
function mapOf(session, layer, column) {
	const { model, store } = session;
	const kind = column ? "attention" : "difference";
	const scale = model.get("_scales")[kind];
	const entry = store.others.get(`${kind}/${layer}`);
	if (!scale || !entry) return void 0;
	const { width, height, most } = scale;
	const place = column ? model.get("columns").findIndex(({ token }) => token === column.token) : 0;
	const start = place * width * height;
	if (entry.data.byteLength < start + width * height) return void 0;
	const values = new Uint8Array(entry.data.buffer, entry.data.byteOffset + start, width * height);
	const version = [model.get("_run"), kind, layer, place].join();
	return { plane: { values, scale: 1, width, height }, signed: !!column, most, version };
}
function paintDiff(canvas, { plane, signed }) {
	const side = (values, ramp) => ({ plane: { ...plane, values }, most: 1, ramp });
	if (!signed) return paintHeat(canvas, [side(plane.values, 0)]);
	const above = plane.values.map((value) => 2 * Math.max(0, value - ZERO));
	const below = plane.values.map((value) => 2 * Math.max(0, ZERO - value));
	paintHeat(canvas, [side(above, 0), side(below, 1)]);
}
function paintScale(canvas, signed) {
	const first = signed ? 1 : 0;
	const values = Uint8Array.from({ length: 256 - first }, (_, at) => first + at);
	paintDiff(canvas, { plane: { values, scale: 1, width: values.length, height: 1 }, signed });
}
function wordsAt({ plane, signed, most }, across, down) {
	const pixel = (share, size) => Math.min(size - 1, Math.max(0, Math.floor(share * size)));
	const value = plane.values[pixel(down, plane.height) * plane.width + pixel(across, plane.width)];
	return signed ? withSign((value - ZERO) / STEPS * most) : digits(value / 255 * most);
}
function withSign(value) {
	return value > 0 ? `+${digits(value)}` : value < 0 ? `−${digits(-value)}` : "0";
}

// src/diff/legend.ts
var DiffLegend = class {
	el = h("div", { class: "dlw-legend dlw-diff-legend" });
	unit = h("div", { class: "dlw-unit" });
	low = h("span", { class: "dlw-low" });
	high = h("span", { class: "dlw-high" });
	colours = h("canvas");
	note = h("div", { class: "dlw-range-note" });
	value = h("div", { class: "dlw-value" });
	signed = null;
	constructor() {
		const bar = h("span", { class: "dlw-bar", "aria-hidden": "true" }, this.colours);
		put(this.el, this.unit, h("div", { class: "dlw-scale-line" }, this.low, bar, this.high), this.note, this.value);
		this.tell("");
	}
	update(map, word) {
		this.el.hidden = !map;
		if (!map) return;
		const { signed, most } = map;
		const attention = `share of a pixel’s attention to “${word}”, tuned minus raw`;
		write(this.unit, signed ? attention : "how far each pixel is apart, 0 to 255, mean of red, green and blue");
		write(this.low, signed ? `${withSign(-most)} · less` : "0");
		write(this.high, signed ? `${withSign(most)} · more` : digits(most));
		write(this.note, `one range for all layers${signed ? " and words; dark: no change" : ""}`);
		if (signed !== this.signed) paintScale(this.colours, signed);
		this.signed = signed;
	}
	tell(words) {
		write(this.value, words || " ");
	}
};

// src/shared/picture.ts
var CRISP_BELOW = 96;
function paint(canvas, bitmap, limit = Infinity) {
	const scale = Math.min(1, limit / Math.max(bitmap.width, bitmap.height));
	const width = Math.max(1, Math.round(bitmap.width * scale));
	const height = Math.max(1, Math.round(bitmap.height * scale));
	if (canvas.width !== width) canvas.width = width;
	if (canvas.height !== height) canvas.height = height;
	const pen = canvas.getContext("2d");
	pen.imageSmoothingQuality = "high";
	pen.drawImage(bitmap, 0, 0, width, height);
	canvas.classList.toggle("dlw-crisp", Math.max(bitmap.width, bitmap.height) < CRISP_BELOW);
}
var PictureCanvas = class {
	el = h("div", { class: "dlw-stage" });
	frame = h("div", { class: "dlw-frame" });
	canvas = h("canvas", { class: "dlw-picture", role: "img" });
	words = h("div", { class: "dlw-hole" });
	badge = h("div", { class: "dlw-badge", "aria-hidden": "true" });
	shown = null;
	constructor() {
		put(this.frame, this.canvas, this.words, this.badge);
		put(this.el, this.frame);
	}
	update(picture, ratio, label, words, badge) {
		this.frame.style.setProperty("--dlw-ratio", String(ratio));
		this.canvas.hidden = !picture;
		this.words.hidden = !!picture;
		this.badge.hidden = !badge;
		write(this.badge, badge);
		this.canvas.setAttribute("aria-label", label);
		if (picture && picture.bitmap !== this.shown) paint(this.canvas, picture.bitmap);
		this.shown = picture?.bitmap ?? null;
		if (!picture) put(this.words, words);
	}
};

// src/diff/panes.ts
var RUNS = ["raw", "raw-tuned", "tuned-raw", "tuned"];
function partsOf(run) {
	return [run.split("-")[0], run.split("-").at(-1)];
}
function shownIn(mode) {
	if (mode === "square") return RUNS;
	return mode === "difference" ? ["tuned"] : ["raw", "tuned"];
}
var Pane = class {
	constructor(run, picture) {
		this.run = run;
		this.picture = picture;
		this.el.dataset.run = run;
		put(this.el, this.name, picture.el);
	}
	run;
	picture;
	el = h("figure", { class: "dlw-pane" });
	name = h("figcaption", { class: "dlw-pane-name" });
};
var Panes = class {
	el = h("div", { class: "dlw-panes" });
	curtain = axisRange("Curtain", "dlw-curtain", () => this.draw());
	heat = h("canvas", { class: "dlw-heat", hidden: true });
	raw = false;
	line = h("div", { class: "dlw-curtain-line", "aria-hidden": "true" });
	panes;
	constructor(tuned) {
		this.panes = RUNS.map((run) => new Pane(run, run === "tuned" ? tuned : new PictureCanvas()));
		this.curtain.max = "100";
		this.curtain.value = "50";
		tuned.frame.firstElementChild.after(this.heat);
		tuned.frame.append(this.curtain, this.line);
		put(this.el, ...this.panes.map(({ el }) => el));
		this.draw();
	}
	update(mode, ratio, stateOf) {
		const there = shownIn(mode);
		this.el.className = `dlw-panes dlw-mode-${mode}`;
		this.el.style.setProperty("--dlw-ratio", String(ratio));
		this.curtain.hidden = this.line.hidden = mode !== "curtain";
		for (const { run, el, name, picture } of this.panes) {
			el.hidden = !there.includes(run);
			if (el.hidden) continue;
			const { picture: painted, label, hole } = stateOf(run);
			const [encoder, unet] = partsOf(run);
			write(name, mode === "square" ? `encoder ${encoder} × U-Net ${unet}` : mode === "difference" ? "" : run);
			picture.update(painted, ratio, label, hole, "");
			el.classList.toggle("dlw-away", mode === "blink" && run === "raw" !== this.raw);
		}
	}
	get at() {
		return Number(this.curtain.value) / 100;
	}
	draw() {
		const value = this.curtain.value;
		this.el.style.setProperty("--dlw-at", `${value}%`);
		this.curtain.setAttribute("aria-valuetext", `raw on the left ${value} %, tuned on the right`);
	}
};

// src/diff/spark.ts
var SVG = "http://www.w3.org/2000/svg";
var ROOM = 12;
var Spark = class {
	constructor(does, keyboard) {
		this.keyboard = keyboard;
		const change = () => does.measure(this.select.value);
		const about = { "aria-label": "Measure", title: "What is drawn over the layers", [SUPPRESS]: "true" };
		this.select = h("select", { class: "dlw-select", ...about, change });
		put(this.head, this.select, this.values, this.axis);
		this.el.append(this.svg);
		const scrub = (event) => {
			if (!this.el.hasPointerCapture(event.pointerId)) return;
			const { left, width } = this.el.getBoundingClientRect();
			const place = Math.floor((event.clientX - left) / width * this.layers.length);
			const layer = this.layers[Math.min(this.layers.length - 1, Math.max(0, place))];
			if (layer !== void 0) does.layer(layer);
		};
		this.el.addEventListener("pointerdown", (event) => {
			if (event.button !== 0) return;
			event.preventDefault();
			this.keyboard().focus();
			this.el.setPointerCapture(event.pointerId);
			scrub(event);
		});
		this.el.addEventListener("pointermove", scrub);
	}
	keyboard;
	head = h("div", { class: "dlw-spark-head" });
	el = h("div", { class: "dlw-spark" });
	select;
	axis = h("span", { class: "dlw-spark-axis" });
	values = h("span", { class: "dlw-spark-values", role: "status" });
	svg = drawn("svg", { "aria-hidden": "true" });
	measures = null;
	layers = [];
	update(measures, chosen, layers, layer) {
		this.head.hidden = this.el.hidden = !measures.length;
		this.layers = layers;
		if (measures !== this.measures) {
			this.measures = measures;
			put(this.select, ...measures.map(({ name, label }) => h("option", { value: name }, label)));
		}
		const measure = measures.find(({ name }) => name === chosen) ?? measures[0];
		if (!measure) return;
		this.select.value = measure.name;
		const at = layers.indexOf(layer);
		const lines = linesOf(measure, layers.length);
		const known = lines.flatMap(({ values }) => values.filter((value) => value !== null));
		const [low, high] = [Math.min(...known), Math.max(...known)];
		write(this.axis, known.length ? `axis ${number(low)} to ${number(high)} · ${measure.unit}` : "no values");
		put(this.values, ...lines.flatMap((line) => told(line, at)));
		this.draw(lines, at, low, high);
	}
	draw(lines, at, low, high) {
		const count = this.layers.length;
		const across = (place) => `${100 * (place + 0.5) / count}%`;
		const height = (value) => 100 - ROOM - (100 - 2 * ROOM) * (high > low ? (value - low) / (high - low) : 0.5);
		const parts = [drawn("line", { class: "dlw-cursor", x1: across(at), x2: across(at), y1: "0%", y2: "100%" })];
		for (const { look, values } of lines) {
			values.forEach((value, place) => {
				if (value === null) return;
				const here = { x1: across(place), y1: `${height(value)}%` };
				const next = values[place + 1];
				if (next !== null && next !== void 0) {
					parts.push(drawn("line", { class: look, ...here, x2: across(place + 1), y2: `${height(next)}%` }));
				}
				parts.push(drawn("circle", { class: look, cx: here.x1, cy: here.y1, r: place === at ? 4 : 1.5 }));
			});
		}
		put(this.svg, ...parts);
	}
};
function linesOf({ itself, series }, count) {
	const look = (label) => `dlw-line-${label.toLowerCase()}`;
	const values = Array(count).fill(itself ?? 0);
	const raw = itself === null ? [] : [{ label: "raw with itself", look: look("raw"), values }];
	return [...raw, ...series.map(({ label, values: values2 }) => ({ label, look: look(label), values: values2 }))];
}
function told({ label, look, values }, at) {
	const value = values[at];
	const words = value === null || value === void 0 ? "–" : number(value);
	return [h("span", { class: `dlw-key ${look}` }, `${label} `, h("b", {}, words))];
}
function number(value) {
	return Math.abs(value) < 1e-6 ? "0" : String(Number(value.toPrecision(4))).replace("-", "−");
}
function drawn(tag, attributes) {
	const element = document.createElementNS(SVG, tag);
	for (const [name, value] of Object.entries(attributes)) element.setAttribute(name, String(value));
	return element;
}

// src/shared/caption.ts
var NAMES = { start: "start", end: "end" };
var Caption = class {
	el = h("div", { class: "dlw-caption" });
	chips = h("div", { class: "dlw-chips" });
	facts = h("div", { class: "dlw-facts" });
	shown = null;
	constructor() {
		put(this.el, this.chips, this.facts);
	}
	update(tokens, marked, facts, title) {
		if (tokens !== this.shown) {
			this.shown = tokens;
			put(this.chips, ...chips(tokens));
		}
		for (const chip of this.chips.querySelectorAll(".dlw-chip")) {
			chip.classList.toggle("dlw-marked", marked.includes(Number(chip.dataset.index)));
		}
		if (this.facts.textContent !== facts.join(" · ")) {
			put(this.facts, ...facts.flatMap((fact, index) => [index > 0 && " · ", h("span", {}, fact)]));
		}
		this.facts.title = title;
	}
};
function chips(tokens) {
	const words = [];
	for (const token of tokens) {
		if (token.kind === "pad") continue;
		const name = NAMES[token.kind];
		const chip = h(
			"span",
			{
				class: name ? "dlw-chip dlw-chip-quiet" : "dlw-chip",
				"data-index": token.index,
				title: `token ${token.index}` + (name ? `: ${token.text}` : "")
			},
			name ?? token.text
		);
		const last = words.at(-1);
		if (token.joined && last) last.append(chip);
		else words.push(h("span", { class: "dlw-word" }, chip));
	}
	const pads = tokens.filter((token) => token.kind === "pad");
	if (pads[0]) {
		const title = `${pads.length} padding tokens fill the text encoder's input`;
		const about = { class: "dlw-chip dlw-chip-quiet", "data-index": pads[0].index, title };
		words.push(h("span", about, `· ${pads.length} pad`));
	}
	return words;
}
function settingFacts(settings) {
	const facts = [];
	if (settings.seed !== void 0) facts.push(`seed ${settings.seed}`);
	if (settings.guidance_scale !== void 0) facts.push(`guidance ${settings.guidance_scale}`);
	if (settings.model) facts.push(settings.model.split(/[\\/]/).filter(Boolean).at(-1) ?? settings.model);
	return facts;
}

// src/shared/thumb.ts
var EMPTY_PLACES = 13;
function holes() {
	const hole = { value: -1, mark: "hollow", title: "not computed", picture: void 0 };
	return Array.from({ length: EMPTY_PLACES }, () => hole);
}
var PIXELS = 128;
var Thumb = class {
	el = h("div");
	label = h("span", { class: "dlw-number" });
	canvas = h("canvas", { class: "dlw-thumb" });
	bitmap;
	constructor() {
		this.el.append(h("div", { class: "dlw-box" }, this.canvas), h("i", { class: "dlw-mark" }), this.label);
	}
	show({ value, mark, title, picture }, current) {
		this.el.className = `dlw-cell dlw-is-${mark}${current ? " dlw-current" : ""}`;
		this.el.title = title;
		write(this.label, value < 0 ? "" : String(value));
		const bitmap = picture?.bitmap;
		this.canvas.hidden = !bitmap;
		if (bitmap && bitmap !== this.bitmap) paint(this.canvas, bitmap, PIXELS);
		this.bitmap = bitmap;
	}
};
function thin(labels, size, room) {
	const stride = Math.ceil(size * labels.length / (room || Infinity));
	labels.forEach((label, index) => label.classList.toggle("dlw-thinned", index % stride !== 0));
}

// src/shared/film.ts
var LABEL_WIDTH = 22;
var Film = class {
	constructor(name, choose) {
		this.choose = choose;
		this.range = axisRange(name, "dlw-range", (index) => this.go(index));
		this.strip.addEventListener("pointerdown", (event) => this.grasp(event));
		this.strip.addEventListener("pointermove", (event) => this.scrub(event));
		put(this.inner, this.range, this.strip);
		put(this.el, this.inner);
		this.observer.observe(this.inner);
	}
	choose;
	el = h("div", { class: "dlw-film" });
	range;
	inner = h("div", { class: "dlw-film-inner" });
	strip = h("div", { class: "dlw-strip", "aria-hidden": "true" });
	thumbs = [];
	values = [];
	current = 0;
	observer = new ResizeObserver(() => {
		this.thinLabels();
		this.reveal();
	});
	update(places, value, valueText, ratio) {
		if (places.length !== this.thumbs.length) this.build(places.length);
		this.values = places.map((place) => place.value);
		this.inner.style.setProperty("--dlw-ratio", String(ratio));
		const current = this.values.indexOf(value);
		places.forEach((place, index) => this.thumbs[index].show(place, index === current));
		if (this.range.value !== String(current)) this.range.value = String(current);
		this.range.setAttribute("aria-valuetext", valueText);
		this.range.disabled = places.every((place) => place.value < 0);
		if (current !== this.current) {
			this.current = current;
			this.reveal();
		}
	}
	move(by) {
		this.go(Number(this.range.value) + by);
	}
	dispose() {
		this.observer.disconnect();
	}
	go(index) {
		const value = this.values[index];
		if (value !== void 0 && value >= 0) this.choose(value);
	}
	build(count) {
		this.thumbs = Array.from({ length: count }, () => new Thumb());
		put(this.strip, ...this.thumbs.map(({ el }) => el));
		this.range.max = String(count - 1);
		this.inner.style.setProperty("--dlw-places", String(count));
		this.current = -1;
		this.thinLabels();
	}
	grasp(event) {
		if (event.button !== 0) return;
		event.preventDefault();
		this.range.focus();
		this.strip.setPointerCapture(event.pointerId);
		this.scrub(event);
	}
	scrub(event) {
		if (!this.strip.hasPointerCapture(event.pointerId)) return;
		const { left, width } = this.strip.getBoundingClientRect();
		const index = Math.floor((event.clientX - left) / width * this.thumbs.length);
		this.go(Math.min(this.thumbs.length - 1, Math.max(0, index)));
	}
	thinLabels() {
		const labels = this.thumbs.map(({ label }) => label);
		thin(labels, LABEL_WIDTH, this.strip.clientWidth);
	}
	reveal() {
		const { scrollWidth, clientWidth } = this.el;
		if (scrollWidth <= clientWidth || this.current < 0) return;
		this.el.scrollLeft = (this.current + 0.5) / this.thumbs.length * scrollWidth - clientWidth / 2;
	}
};

// src/shared/emitter.ts
var Emitter = class {
	listeners = /* @__PURE__ */ new Set();
	listen(listener) {
		this.listeners.add(listener);
		return () => this.listeners.delete(listener);
	}
	notify() {
		for (const listener of this.listeners) listener();
	}
};

// src/shared/player.ts
var SPEEDS = [1, 2, 4, 8];
var Player = class extends Emitter {
	constructor(next) {
		super();
		this.next = next;
	}
	next;
	playing = false;
	speed = 2;
	way = "layer+";
	timer = 0;
	toggle() {
		if (this.playing) this.pause();
		else this.play();
	}
	play() {
		this.playing = this.next();
		if (this.playing) this.schedule();
		this.notify();
	}
	pause() {
		clearTimeout(this.timer);
		if (!this.playing) return;
		this.playing = false;
		this.notify();
	}
	setSpeed(speed) {
		this.speed = speed;
		if (this.playing) this.schedule();
		this.notify();
	}
	setWay(way) {
		this.way = way;
		this.notify();
	}
	schedule() {
		clearTimeout(this.timer);
		this.timer = window.setTimeout(() => this.next() ? this.schedule() : this.pause(), 1e3 / this.speed);
	}
};

// src/shared/spots.ts
var WAYS = {
	...{ "epoch+": "epochs →", "epoch-": "epochs ←" },
	...{ "layer+": "layers →", "layer-": "layers ←", "step+": "steps ↑", "step-": "steps ↓" }
};

// src/shared/foot.ts
var Foot = class {
	constructor(session, png, help, fold) {
		this.session = session;
		const { kernel, player } = session;
		this.play = button("", "", () => player.toggle());
		this.play.append(h("i", { class: "dlw-icon" }));
		const select = (label, title, options, choose) => h(
			"select",
			{
				class: "dlw-select",
				"aria-label": label,
				title,
				[SUPPRESS]: "true",
				change: ({ target }) => choose(target.value)
			},
			...options.map(([value, text]) => h("option", { value }, text))
		);
		this.way = select(
			"Play",
			"What is played, and which way",
			Object.entries(WAYS),
			(way) => player.setWay(way)
		);
		this.speed = select(
			"Speed",
			"Pictures per second",
			SPEEDS.map((speed) => [speed, `${speed} / s`]),
			(speed) => player.setSpeed(Number(speed))
		);
		this.grid = button("Grid", "Tokens and layers, or only one strip", fold);
		this.stop = button("Stop", "Stop the run; what is painted stays", () => kernel.stop());
		this.png = button("PNG", "Save this picture", png);
		this.files = {
			gif: button("GIF", "", () => kernel.write("gif")),
			html: button("HTML", "", () => kernel.write("html"))
		};
		const question = button("?", "What am I looking at? (?)", help);
		question.setAttribute("aria-label", "Help");
		put(
			this.el,
			h("div", { class: "dlw-group" }, this.play, this.way, this.speed, this.grid),
			h("div", { class: "dlw-group dlw-grow" }, this.progress, this.stop),
			h(
				"div",
				{ class: "dlw-group", role: "group", "aria-label": "Save" },
				h("span", { class: "dlw-label", "aria-hidden": "true" }, "Save"),
				this.png,
				this.files.gif,
				this.files.html,
				question
			)
		);
	}
	session;
	el = h("div", { class: "dlw-foot" });
	play;
	way;
	speed;
	grid;
	progress = h("span", { class: "dlw-progress" });
	stop;
	png;
	files;
	update(state) {
		const { kernel, player } = this.session;
		this.play.disabled = this.way.disabled = this.speed.disabled = !state.playable;
		for (const option of this.way.options) option.hidden = option.disabled = !state.ways.includes(option.value);
		this.way.value = state.ways.includes(player.way) ? player.way : player.way.replace("step", "layer");
		this.grid.hidden = !state.grid;
		this.grid.setAttribute("aria-pressed", String(!this.session.folded));
		const name = player.playing ? "Pause" : "Play";
		this.play.className = `dlw-button dlw-${name.toLowerCase()}`;
		this.play.setAttribute("aria-label", name);
		this.play.title = `${name} (space)`;
		this.speed.value = String(player.speed);
		write(this.progress, state.progress);
		this.stop.hidden = !state.running;
		this.stop.disabled = kernel.stopping;
		write(this.stop, kernel.stopping ? "Stopping…" : "Stop");
		this.png.disabled = !state.picture;
		const film = state.film ?? "all layers";
		this.updateFile("gif", `Save the film of ${film} as an animation`, state.anything);
		const page = state.film ? void 0 : state.anything;
		this.updateFile("html", "Save a page with this slider that needs no notebook", page);
	}
	updateFile(format, title, anything) {
		const { kernel, model } = this.session;
		const [file, name] = [this.files[format], format.toUpperCase()];
		const busy = kernel.writing.has(format);
		file.hidden = !!model.get("_static") || anything === void 0;
		file.disabled = busy || !anything || kernel.liveness !== "alive";
		file.title = kernel.liveness === "absent" ? `${name} is made by the kernel, and there is none` : title;
		write(file, busy ? "Saving…" : name);
	}
};

// src/shared/help.ts
var Help = class {
	el;
	close;
	opener = null;
	constructor(text) {
		this.close = button("Close", "Close (Esc)", () => this.hide());
		this.el = h(
			"div",
			{ class: "dlw-help", role: "dialog", "aria-label": text.title, hidden: true },
			h("div", { class: "dlw-help-head" }, h("h3", {}, text.title), this.close)
		);
		const table2 = (title, rows, cell) => {
			const lines = rows.flatMap(([name, meaning]) => [cell(name), h("span", {}, meaning)]);
			return h("div", {}, h("h4", {}, title), h("div", { class: "dlw-list" }, ...lines));
		};
		this.el.append(
			...text.paragraphs.map((paragraph) => h("p", {}, paragraph)),
			h(
				"div",
				{ class: "dlw-help-tables" },
				table2("Keys", text.keys, (keys) => h("span", { class: "dlw-keys" }, keys)),
				table2("Marks", text.marks, (mark) => h("span", { class: `dlw-is-${mark}` }, h("i", { class: "dlw-mark" })))
			)
		);
	}
	get open() {
		return !this.el.hidden;
	}
	toggle() {
		if (this.open) this.hide();
		else this.show();
	}
	hide() {
		if (!this.open) return;
		this.el.hidden = true;
		this.opener?.focus();
	}
	show() {
		this.opener = document.activeElement instanceof HTMLElement ? document.activeElement : null;
		this.el.hidden = false;
		this.close.focus();
	}
};

// src/shared/notice.ts
var NoticeLine = class {
	el = h("div", { class: "dlw-notice", role: "status", hidden: true });
	update(lines, error) {
		const text = lines.filter(Boolean).join("\n");
		this.el.hidden = !text;
		this.el.classList.toggle("dlw-error", error);
		write(this.el, text);
	}
};

// src/shared/save.ts
function download(blob, name) {
	const url = URL.createObjectURL(blob);
	const link = document.createElement("a");
	link.href = url;
	link.download = name;
	link.click();
	setTimeout(() => URL.revokeObjectURL(url), 1e4);
}
function fileName(...words) {
	const slug = words.join(" ").toLowerCase().replace(/[^\p{L}\p{N}]+/gu, "-");
	return slug.slice(0, 60).replace(/^-+|-+$/g, "") || "lens";
}
function savePng(bitmap, name) {
	const canvas = document.createElement("canvas");
	canvas.width = bitmap.width;
	canvas.height = bitmap.height;
	canvas.getContext("2d").drawImage(bitmap, 0, 0);
	canvas.toBlob((blob) => blob && download(blob, `${name}.png`), "image/png");
}

// src/shared/instrument.ts
var AXIS = "input, [role=gridcell]";
var Instrument = class {
	constructor(session, help, axis, choose) {
		this.session = session;
		const { kernel, player, store } = session;
		this.film = new Film(axis, choose);
		this.help = new Help(help);
		this.foot = new Foot(
			session,
			() => this.savePng(),
			() => this.help.toggle(),
			() => {
				session.folded = !session.folded;
				this.schedule();
			}
		);
		const parts = [this.caption, this.notice, this.picture, this.film, this.foot, this.help];
		put(this.root, ...parts.map((part) => part.el));
		this.picture.frame.addEventListener("click", () => this.keyboard().focus());
		this.listenToUser();
		for (const part of [kernel, player, store]) this.offs.push(part.listen(() => this.schedule()));
		this.observer.observe(this.root);
	}
	session;
	root = h("div", { class: "dlw-root" });
	caption = new Caption();
	notice = new NoticeLine();
	picture = new PictureCanvas();
	film;
	foot;
	help;
	offs = [];
	frame = 0;
	stale = false;
	observer = new ResizeObserver(() => this.stale && this.schedule());
	attach(el) {
		put(el, this.root);
		const owner = this.session.focusOwner;
		if (owner && owner !== this.root && !owner.isConnected) {
			requestAnimationFrame(() => this.keyboard().focus({ preventScroll: true }));
		}
	}
	dispose() {
		for (const off of this.offs) off();
		cancelAnimationFrame(this.frame);
		this.observer.disconnect();
		this.film.dispose();
		this.root.remove();
	}
	keyboard() {
		return this.film.range;
	}
	get(name) {
		return this.session.model.get(name);
	}
	status() {
		const status = this.session.model.get("status");
		return status === "running" && this.session.kernel.liveness === "absent" ? "stopped" : status;
	}
	schedule() {
		cancelAnimationFrame(this.frame);
		this.frame = requestAnimationFrame(() => {
			this.stale = !this.root.isConnected;
			if (!this.stale) this.update();
		});
	}
	savePng() {
		const [picture, name] = this.current();
		if (picture) savePng(picture.bitmap, name);
	}
	listenToUser() {
		const { session, root } = this;
		root.addEventListener("keydown", (event) => this.onKey(event));
		for (const type of ["keydown", "keyup"]) root.addEventListener(type, letShortcutsPass);
		root.addEventListener("pointerdown", () => session.touch(true));
		for (const end of ["pointerup", "pointercancel"]) root.addEventListener(end, () => session.touch());
		root.addEventListener("focusin", () => session.focusOwner = root);
		root.addEventListener(
			"focusout",
			() => (
				queueMicrotask(() => {
					const left = root.isConnected && !root.contains(document.activeElement);
					if (left && session.focusOwner === root) session.focusOwner = null;
				})
			)
		);
	}
	onKey(event) {
		this.session.touch();
		if (event.ctrlKey || event.metaKey || event.altKey) return;
		if (event.key === "Escape" && this.help.open) this.help.hide();
		else if (event.key === "?") this.help.toggle();
		else if (event.key === " " && event.target.matches(AXIS)) this.session.player.toggle();
		else if (this.help.open || !this.onOwnKey(event.key, event.target, event.shiftKey)) return;
		event.preventDefault();
		event.stopPropagation();
	}
};
function letShortcutsPass({ target, ctrlKey, metaKey }) {
	const ours = target.matches(`${AXIS}, button, select`);
	if (ours && (ctrlKey || metaKey)) target.removeAttribute(SUPPRESS);
	else if (ours) target.setAttribute(SUPPRESS, "true");
}

// src/shared/layers.ts
function nextLayer(kind) {
	return (session) => {
		const { model, player, store } = session;
		const layers = model.get("layers");
		const at = layers.indexOf(model.get("layer"));
		const ahead = [...layers.slice(at + 1), ...layers.slice(0, at)];
		const next = (player.way === "layer-" ? ahead.reverse() : ahead).find((layer) => store.get(`${kind}/${layer}`));
		if (next !== void 0) session.set("layer", next);
		return next !== void 0;
	};
}

// src/shared/model.ts
function listen(model, events, callback) {
	for (const event of events) model.on(event, callback);
	return () => events.forEach((event) => model.off(event, callback));
}

// src/shared/progress.ts
function progressText(status, painted, total, unit, left) {
	const count = `${painted} of ${total} ${unit}`;
	if (status === "stopped") return `stopped · ${count}`;
	if (status === "running") return typeof left === "number" ? `${count} · ${duration(left)} left` : count;
	return painted === total ? `${total} ${unit}` : count;
}
function duration(seconds) {
	if (seconds < 10) return `${seconds.toFixed(1)} s`;
	if (seconds < 90) return `${Math.round(seconds)} s`;
	return `${Math.round(seconds / 60)} min`;
}

// src/shared/kernel.ts
var SILENCE = 4e3;
var ASK_AGAIN = [0, 4e3, 12e3, 3e4];
var Kernel = class extends Emitter {
	constructor(model, store, events) {
		super();
		this.model = model;
		this.store = store;
		this.events = events;
		this.offs = [
			listen(model, ["msg:custom"], (message, buffers) => this.hear(message, buffers)),
			listen(model, ["change:status", "change:progress", "change:_frames"], () => this.heard()),
			listen(model, ["change:_frames", "change:_run"], () => this.takeAll()),
			listen(model, ["comm_live_update"], () => this.ask())
		];
		this.takeAll();
		this.ask();
	}
	model;
	store;
	events;
	liveness = "asking";
	writing = /* @__PURE__ */ new Set();
	fileError = "";
	stopping = false;
	offs;
	timers = [];
	silence = 0;
	stop() {
		this.stopping = true;
		this.say({ type: "stop" });
		this.notify();
	}
	write(format) {
		this.writing.add(format);
		this.fileError = "";
		this.say({ type: "export", format });
		this.notify();
	}
	allowStill() {
		this.say({ type: "still" });
	}
	dispose() {
		for (const off of this.offs) off();
		for (const timer of [...this.timers, this.silence]) clearTimeout(timer);
	}
	say(content) {
		try {
			this.model.send(content);
		} catch {
			this.settle("absent");
		}
	}
	ask() {
		for (const timer of this.timers) clearTimeout(timer);
		this.liveness = "asking";
		this.timers = ASK_AGAIN.map(
			(wait) => window.setTimeout(() => this.liveness !== "alive" && this.say({ type: "hello" }), wait)
		);
		this.expect();
	}
	expect() {
		clearTimeout(this.silence);
		const due = this.liveness === "asking" || this.model.get("status") === "running";
		if (due) this.silence = window.setTimeout(() => this.settle("absent"), SILENCE);
	}
	heard() {
		if (this.model.get("status") !== "running") this.stopping = false;
		this.settle("alive");
		this.expect();
	}
	settle(liveness) {
		if (this.liveness === liveness) return;
		this.liveness = liveness;
		this.notify();
	}
	hear(message, buffers) {
		this.heard();
		if (message.type === "frame") void this.takeFrame(message, buffers[0]);
		else if (message.type === "file") this.takeFile(message, buffers[0]);
		else if (message.type === "done") this.events.onDone();
	}
	async takeFrame(message, data) {
		if (data) {
			const { key, mime, step, final, run } = message;
			const entry = { mime, step, final, run, data };
			if (final && (run ?? 0) >= this.model.get("_run")) this.model.get("_frames")[key] = entry;
			await this.store.offer(key, entry);
		}
		if (message.n > this.model.get("_acknowledged")) {
			this.model.set("_acknowledged", message.n);
			this.model.save_changes();
		}
	}
	takeFile(message, data) {
		this.writing.delete(message.format);
		this.fileError = message.error ? `${message.format.toUpperCase()} was not saved. ${message.error}` : "";
		if (!message.error && data) this.events.onFile(message.format, message.mime, data);
		this.notify();
	}
	takeAll() {
		this.store.begin(this.model.get("_run"));
		for (const [key, entry] of Object.entries(this.model.get("_frames") ?? {})) void this.store.offer(key, entry);
	}
};

// src/shared/store.ts
var FrameStore = class extends Emitter {
	run = 0;
	tickets = 0;
	pictures = /* @__PURE__ */ new Map();
	known = /* @__PURE__ */ new Map();
	closed = false;
	others = /* @__PURE__ */ new Map();
	get(key) {
		return this.pictures.get(key);
	}
	get any() {
		return this.pictures.values().next().value;
	}
	async offer(key, entry) {
		if (this.closed || !this.begin(entry.run)) return;
		if (!entry.mime.startsWith("image/")) {
			this.others.set(key, entry);
			return this.notify();
		}
		const known = this.known.get(key);
		const bytes = entry.data.byteLength;
		if (known?.final && (!entry.final || known.bytes === bytes)) return;
		const ticket = ++this.tickets;
		this.known.set(key, { ticket, final: entry.final, bytes });
		const bitmap = await decode(entry);
		if (this.closed || this.known.get(key)?.ticket !== ticket) {
			bitmap?.close();
		} else if (bitmap) {
			this.pictures.get(key)?.bitmap.close();
			this.pictures.set(key, { bitmap, step: entry.step, final: entry.final });
			this.notify();
		} else {
			this.known.delete(key);
		}
	}
	begin(run) {
		if (run === void 0 || run === this.run) return true;
		if (run < this.run) return false;
		this.run = run;
		this.clear();
		return true;
	}
	dispose() {
		this.closed = true;
		this.clear();
	}
	clear() {
		for (const { bitmap } of this.pictures.values()) bitmap.close();
		this.pictures.clear();
		this.known.clear();
		this.others.clear();
		this.notify();
	}
};
async function decode(entry) {
	const { buffer, byteOffset, byteLength } = entry.data;
	const bytes = new Uint8Array(buffer, byteOffset, byteLength);
	try {
		return await createImageBitmap(new Blob([bytes], { type: entry.mime }));
	} catch (error) {
		console.warn("difflens: a picture cannot be decoded", error);
		return null;
	}
}

// src/shared/session.ts
var SAVE_INTERVAL = 100;
var QUIET = 800;
var QUIET_AT_MOST = 1e4;
var Session = class {
	constructor(model, next, fileName2) {
		this.model = model;
		this.next = next;
		this.fileName = fileName2;
		const common = model;
		this.kernel = new Kernel(common, this.store, {
			onFile: (format, mime, bytes) => download(new Blob([bytes], { type: mime }), `${this.fileName()}.${format}`),
			onDone: () => this.allowStillWhenQuiet(Date.now() + QUIET_AT_MOST)
		});
		this.player = new Player(() => this.next(this));
		this.off = listen(model, ["change:_run"], () => this.player.pause());
	}
	model;
	next;
	fileName;
	store = new FrameStore();
	kernel;
	player;
	focusOwner = null;
	folded = false;
	lastTouch = 0;
	held = false;
	saveTimer = 0;
	stillTimer = 0;
	off;
	set(name, value) {
		if (this.model.get(name) === value) return;
		this.model.set(name, value);
		if (this.saveTimer) return;
		this.model.save_changes();
		this.saveTimer = window.setTimeout(() => {
			this.saveTimer = 0;
			this.model.save_changes();
		}, SAVE_INTERVAL);
	}
	touch(held = false) {
		this.lastTouch = Date.now();
		this.held = held;
	}
	dispose() {
		this.off();
		clearTimeout(this.saveTimer);
		clearTimeout(this.stillTimer);
		this.player.pause();
		this.kernel.dispose();
		this.store.dispose();
	}
	allowStillWhenQuiet(atLast) {
		const now = Date.now();
		if ((this.held || now - this.lastTouch < QUIET) && now < atLast) {
			this.stillTimer = window.setTimeout(() => this.allowStillWhenQuiet(atLast), QUIET / 2);
		} else {
			this.kernel.allowStill();
		}
	}
};
var nowhere = {};
var sessions = /* @__PURE__ */ new WeakMap();
function sessionsOf(model) {
	const manager = model.widget_manager ?? nowhere;
	let known = sessions.get(manager);
	if (!known) sessions.set(manager, known = /* @__PURE__ */ new Map());
	return known;
}

// src/shared/widget.ts
function widget(begin, open) {
	return {
		initialize({ model }) {
			const session = begin(model);
			const known = sessionsOf(model);
			const uid = model.get("_uid");
			known.set(uid, session);
			return () => {
				session.dispose();
				if (known.get(uid) === session) known.delete(uid);
			};
		},
		render({ model, el }) {
			const session = sessionsOf(model).get(model.get("_uid"));
			if (!session) throw new Error("the widget was not initialized");
			const view = open(session);
			view.attach(el);
			return () => view.dispose();
		}
	};
}

// src/diff_viewer.ts
var WATCHED = [
	...["layer", "mode", "measure", "token", "layers", "num_layers", "prompt", "tokens", "settings", "models"],
	...["measures", "columns", "_scales", "status", "message", "notice", "failures"]
].map((trait) => `change:${trait}`);
var MODES = [
	["side", "side by side", "Raw on the left, tuned on the right"],
	["curtain", "curtain", "One over the other; draw the curtain with the pointer or the arrow keys"],
	["blink", "blink", "One after the other in the same place"],
	["difference", "difference", "How far each pixel is apart, on one scale for all layers"],
	["square", "2 × 2", "Raw and tuned encoder, each with the raw and the tuned U-Net"]
];
var BLINK = 800;
var OPACITY = 0.65;
var REDUCED = matchMedia("(prefers-reduced-motion: reduce)");
var View = class extends Instrument {
	panes = new Panes(this.picture);
	legend = new DiffLegend();
	spark = new Spark(
		{ measure: (name) => this.session.set("measure", name), layer: (layer) => this.goTo(layer) },
		() => this.film.range
	);
	modes = MODES.map(([mode, label, title]) => {
		return { mode, el: button(label, title, () => this.session.set("mode", mode)) };
	});
	map;
	painted = "";
	timer = 0;
	constructor(session) {
		super(session, HELP, "Layer", (layer) => this.goTo(layer));
		const group = { class: "dlw-group", role: "group", "aria-label": "How to compare" };
		const controls = h("div", { class: "dlw-controls" }, h("div", group, ...this.modes.map(({ el }) => el)));
		this.notice.el.after(controls, this.panes.el, this.legend.el, this.spark.head);
		this.film.el.firstElementChild.prepend(this.spark.el);
		this.listenToPointer();
		this.offs.push(listen(session.model, WATCHED, () => this.schedule()));
		const again = () => this.schedule();
		REDUCED.addEventListener("change", again);
		this.offs.push(() => (clearInterval(this.timer), REDUCED.removeEventListener("change", again)));
		this.update();
	}
	goTo(layer) {
		this.session.player.pause();
		this.session.set("layer", layer);
	}
	turn() {
		this.panes.raw = !this.panes.raw;
		this.schedule();
	}
	onOwnKey(key, target) {
		if (!target.matches(AXIS)) return false;
		const column = this.get("columns")[Number(key) - 1];
		if (column) this.session.set("token", column.token);
		else if (key === "Escape" && this.get("token") !== null) this.session.set("token", null);
		else if (key === "Enter" && this.get("mode") === "blink") this.turn();
		else return false;
		return true;
	}
	listenToPointer() {
		this.caption.el.addEventListener("click", ({ target }) => {
			const chip = target.closest(".dlw-chip");
			const column = chip && this.columnOf(Number(chip.dataset.index));
			if (column) this.session.set("token", column === this.column() ? null : column.token);
		});
		this.panes.el.addEventListener("click", () => this.get("mode") === "blink" && this.turn());
		this.root.addEventListener("pointermove", (event) => {
			const { frame } = this.picture;
			const { left, top, width, height } = frame.getBoundingClientRect();
			const inside = this.map && frame.contains(event.target);
			const at = () => wordsAt(this.map, (event.clientX - left) / width, (event.clientY - top) / height);
			this.legend.tell(inside ? `here: ${at()}` : "");
		});
		this.root.addEventListener("pointerleave", () => this.legend.tell(""));
	}
	columnOf(token) {
		return this.get("columns").find((column) => token !== null && column.places.includes(token));
	}
	column() {
		return this.get("mode") === "square" ? void 0 : this.columnOf(this.get("token"));
	}
	layer() {
		const layers = this.get("layers");
		return layers.findLast((each) => each <= this.get("layer")) ?? layers[0] ?? 0;
	}
	pictureOf(run, layer) {
		return this.session.store.get(`${run}/${layer}`);
	}
	place(layer) {
		const reasons = shownIn("side").map((run) => [run, this.get("failures")[`${run}/${layer}`]]);
		const failed = reasons.filter(([, reason]) => reason).map(([run, reason]) => `${run} failed. ${reason}`);
		const there = shownIn("side").every((run) => this.pictureOf(run, layer));
		const mark = there ? "done" : failed.length ? "failed" : "hollow";
		const what = there ? "painted by both" : failed.join("; ") || "not computed";
		return { value: layer, mark, title: `layer ${layer}: ${what}`, picture: this.pictureOf("tuned", layer) };
	}
	hole(run, layer) {
		if (this.status() === "empty")
			return 'Nothing yet. Show a comparison:\nwidget.show(compare(raw, tuned, "a pink cat"))';
		const reason = this.get("failures")[`${run}/${layer}`];
		return reason ? `layer ${layer} of ${run} failed.
${reason}` : `layer ${layer} of ${run}: not computed`;
	}
	update() {
		const { store } = this.session;
		const status = this.status();
		const empty = status === "empty";
		const [mode, layer, column] = [this.get("mode"), this.layer(), this.column()];
		const { width, height } = store.any?.bitmap ?? { width: empty ? 2 : 1, height: 1 };
		const ratio = width / height;
		this.updateCaption(empty, layer, column);
		for (const { mode: each, el } of this.modes) {
			el.setAttribute("aria-pressed", String(each === mode));
			el.hidden = each === "square" && !this.get("models")["tuned-raw"];
			el.disabled = empty;
		}
		this.blink(mode === "blink" && !REDUCED.matches && !empty);
		const of = `layer ${layer} of ${this.get("num_layers") - 1} of “${this.get("prompt")}”`;
		this.panes.update(empty ? "difference" : mode, ratio, (run) => {
			const parts = partsOf(run);
			const who = parts[0] === parts[1] ? run : `encoder ${parts[0]} × U-Net ${parts[1]}`;
			return { picture: this.pictureOf(run, layer), label: `${who}, ${of}`, hole: this.hole(run, layer) };
		});
		this.updateMap(mode, layer, column);
		this.spark.update(this.get("measures"), this.get("measure"), this.get("layers"), layer);
		const places = empty ? holes() : this.get("layers").map((each) => this.place(each));
		this.film.update(places, layer, empty ? "" : `layer ${layer}`, ratio);
		this.notice.update(this.notices(mode), status === "failed");
		const done = places.filter(({ mark }) => mark === "done").length;
		this.foot.update({
			playable: done > 1,
			ways: ["layer+", "layer-"],
			grid: false,
			progress: empty ? "" : progressText(status, done, places.length, "layers"),
			running: false,
			picture: shownIn(mode).some((run) => this.pictureOf(run, layer))
		});
	}
	updateCaption(empty, layer, column) {
		const { model: _, ...settings } = this.get("settings");
		const [raw = "", tuned = ""] = [this.get("models").raw, this.get("models").tuned];
		const short = (model) => model.split(/[\\/]/).filter(Boolean).at(-1) ?? model;
		const steps = settings.steps ? `step ${settings.steps}/${settings.steps}` : "";
		const where = [`layer ${layer} of ${this.get("num_layers") - 1}`, steps, ...settingFacts(settings)];
		const facts = empty ? [] : [...where, `${short(raw)} → ${short(tuned)}`].filter(Boolean);
		this.root.classList.toggle("dlw-words", this.get("columns").length > 0);
		const marked = column?.places ?? [this.get("token")];
		this.caption.update(this.get("tokens"), marked, facts, `raw: ${raw}
tuned: ${tuned}`);
	}
	updateMap(mode, layer, column) {
		const wanted = column || mode === "difference";
		const there = shownIn("side").every((run) => this.pictureOf(run, layer));
		const map = this.map = wanted && there ? mapOf(this.session, layer, column) : void 0;
		const { heat } = this.panes;
		heat.hidden = !map;
		if (map && map.version !== this.painted) paintDiff(heat, map);
		this.painted = map?.version ?? "";
		this.picture.frame.classList.toggle("dlw-over", !!map?.signed);
		this.root.style.setProperty("--dlw-opacity", map?.signed ? String(OPACITY) : "1");
		this.legend.update(map, column?.text ?? "");
	}
	notices(mode) {
		const status = this.status();
		const lines = [this.get("notice"), this.get("message")];
		if (status === "stopped") lines.unshift("A run was stopped; what is painted is compared.");
		if (status === "failed") lines.unshift("A run failed; what is painted is compared.");
		const reduced = mode === "blink" && REDUCED.matches;
		if (reduced) lines.push("Motion is reduced here: press the picture, or Enter, to see the other one.");
		return lines;
	}
	blink(on) {
		if (on === !!this.timer) return;
		clearInterval(this.timer);
		this.timer = on ? window.setInterval(() => this.root.isConnected && this.turn(), BLINK) : 0;
		if (!on) this.panes.raw = false;
	}
	current() {
		const [mode, layer, column] = [this.get("mode"), this.layer(), this.column()];
		const how = MODES.find(([each]) => each === mode)[1];
		const name = fileName("compare", how, column?.text ?? "", "layer", layer, this.get("prompt"));
		const of = (run) => {
			const bitmap = this.pictureOf(run, layer)?.bitmap;
			if (run !== "tuned" || !this.map || !bitmap) return bitmap;
			return overPicture(bitmap, this.panes.heat, this.map.signed ? OPACITY : 1);
		};
		const shown = mode === "blink" ? [this.panes.raw ? of("raw") : of("tuned")] : shownIn(mode).map(of);
		const first = shown.find((each) => each);
		if (!first) return [void 0, name];
		if (shown.length === 1) return [{ bitmap: first }, name];
		const width = Math.max(...shown.map((each) => each?.width ?? 0));
		const height = Math.max(...shown.map((each) => each?.height ?? 0));
		const [columns, rows] = mode === "curtain" ? [1, 1] : mode === "square" ? [2, 2] : [2, 1];
		const sheet = h("canvas", { width: columns * width, height: rows * height });
		const pen = sheet.getContext("2d");
		pen.imageSmoothingEnabled = false;
		shown.forEach((each, place) => {
			const from = mode === "curtain" && place ? this.panes.at : 0;
			const [x, y] = mode === "curtain" ? [0, 0] : [place % 2 * width, Math.floor(place / 2) * height];
			if (each && from < 1) {
				const source = [from * each.width, 0, (1 - from) * each.width, each.height];
				pen.drawImage(each, ...source, x + from * width, y, (1 - from) * width, height);
			}
		});
		return [{ bitmap: sheet }, name];
	}
};
var diff_viewer_default = widget(
	(model) => new Session(model, nextLayer("tuned"), () => fileName("compare", model.get("prompt"))),
	(session) => new View(session)
);
export {
	diff_viewer_default as default
};
