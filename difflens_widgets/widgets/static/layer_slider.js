// src/layer_slider_help.ts
var HELP = {
	title: "What am I looking at?",
	paragraphs: [
		"The prompt went through the text encoder once. Each picture is painted from what the encoder held after one layer, with its final norm applied. Layer 0 is the bare token embeddings; the last layer gives the model's usual picture. Where a block is called skipped, the encoder worked to its end without that block.",
		"All pictures start from the same noise: where they differ, the text encoder made the difference.",
		"Steps, beside the picture: what the model predicted on its way. Grid: each row keeps one token of the prompt."
	],
	keys: [
		["← →", "one layer back, on"],
		["↑ ↓", "one step on, back; in the grid: tokens"],
		["Home End", "first, last"],
		["1 – 9", "one token"],
		["Esc", "whole prompt; close"],
		["Space", "play, pause"],
		["?", "this help"]
	],
	marks: [
		["done", "painted"],
		["preview", "preview, not finished"],
		["running", "being painted"],
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
function axisRange(name, look, go2) {
	const input = () => go2(Number(range.value));
	const axis = { type: "range", min: 0, step: 1, "aria-label": name, [SUPPRESS]: "true" };
	const range = h("input", { class: look, ...axis, input });
	return range;
}
function button(label, title, press) {
	return h("button", { type: "button", class: "dlw-button", title, [SUPPRESS]: "true", click: press }, label);
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

// src/shared/model.ts
function layerName(settings, layer) {
	if (settings.question !== "ablation") return `layer ${layer}`;
	return layer ? `block ${layer} skipped` : "nothing skipped";
}
function listen(model, events, callback) {
	for (const event of events) model.on(event, callback);
	return () => events.forEach((event) => model.off(event, callback));
}

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

// src/shared/spots.ts
function keyOf({ layer, step, token }) {
	const part = token !== null ? `/token/${token}` : step !== null ? `/step/${step}` : "";
	return `layer/${layer}${part}`;
}
function nearest(values, wanted) {
	return values.includes(wanted) ? wanted : values.findLast((each) => each <= wanted) ?? values[0];
}
function spotOf(model) {
	const get = (name) => model.get(name);
	const [layer, step, token] = [get("layer"), get("step"), keptOf(model)?.token ?? null];
	return {
		layer: nearest(get("layers"), layer) ?? layer,
		step: step === null || token !== null ? null : nearest(get("snapshots"), step) ?? null,
		token
	};
}
function keptOf(model) {
	const [token, kept] = [model.get("token"), model.get("kept")];
	if (token === null) return void 0;
	return kept.find((row) => row.token === token) ?? kept.find((row) => row.token >= 0 && row.places.includes(token));
}
var WAYS = {
	...{ "epoch+": "epochs →", "epoch-": "epochs ←" },
	...{ "layer+": "layers →", "layer-": "layers ←", "step+": "steps ↑", "step-": "steps ↓" }
};
function waysFrom(model) {
	const steps = model.get("snapshots").length && spotOf(model).token === null;
	return Object.keys(WAYS).filter((way) => steps || way.startsWith("layer"));
}
function spotsAlong(model, wanted) {
	const spot = spotOf(model);
	const way = waysFrom(model).includes(wanted) ? wanted : wanted.replace("step", "layer");
	const values = way.startsWith("step") ? [...model.get("snapshots"), null] : model.get("layers");
	const axis = way.startsWith("step") ? "step" : "layer";
	const at = values.indexOf(spot[axis]);
	const ahead = [...values.slice(at + 1), ...values.slice(0, at)];
	return (way.endsWith("-") ? ahead.reverse() : ahead).map((value) => ({ ...spot, [axis]: value }));
}

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
		const table = (title, rows, cell) => {
			const lines = rows.flatMap(([name, meaning]) => [cell(name), h("span", {}, meaning)]);
			return h("div", {}, h("h4", {}, title), h("div", { class: "dlw-list" }, ...lines));
		};
		this.el.append(
			...text.paragraphs.map((paragraph) => h("p", {}, paragraph)),
			h(
				"div",
				{ class: "dlw-help-tables" },
				table("Keys", text.keys, (keys) => h("span", { class: "dlw-keys" }, keys)),
				table("Marks", text.marks, (mark) => h("span", { class: `dlw-is-${mark}` }, h("i", { class: "dlw-mark" })))
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

// src/shared/grid.ts
var PictureGrid = class {
	constructor(name, choose) {
		this.choose = choose;
		this.el = h("div", { class: "dlw-grid", role: "grid", "aria-label": name, hidden: true });
		this.observer.observe(this.el);
	}
	choose;
	el;
	heads = [];
	lines = [];
	rows = [];
	shape = "";
	row = -1;
	column = -1;
	observer = new ResizeObserver(() => this.reveal());
	get current() {
		return this.lines[this.row]?.thumbs[this.column]?.el;
	}
	update(axis, rows, key, value, ratio) {
		const focused = this.el.contains(document.activeElement);
		const shape = JSON.stringify([axis, rows.map(({ label, places }) => [label, places.map((place) => place.value)])]);
		if (shape !== this.shape) this.build(axis, rows);
		this.shape = shape;
		this.rows = rows;
		this.el.style.setProperty("--dlw-ratio", String(ratio));
		const row = rows.findIndex((each) => each.key === key);
		const column = rows[0].places.findIndex((place) => place.value === value);
		this.heads.forEach((head, index) => head.classList.toggle("dlw-current", index === column));
		this.lines.forEach(({ head, thumbs }, down) => {
			head.classList.toggle("dlw-current", down === row);
			thumbs.forEach((thumb, across) => {
				const current = down === row && across === column;
				thumb.show(rows[down].places[across], current);
				thumb.el.tabIndex = current ? 0 : -1;
				thumb.el.setAttribute("aria-selected", String(current));
			});
		});
		if (row === this.row && column === this.column) return;
		[this.row, this.column] = [row, column];
		if (focused) this.current?.focus({ preventScroll: true });
		this.reveal();
	}
	key(key) {
		const { row, column } = this;
		if (key === "ArrowLeft") this.go(row, column - 1);
		else if (key === "ArrowRight") this.go(row, column + 1);
		else if (key === "ArrowUp") this.go(row - 1, column);
		else if (key === "ArrowDown") this.go(row + 1, column);
		else if (key === "Home") this.go(row, 0);
		else if (key === "End") this.go(row, this.heads.length - 1);
		else return false;
		return true;
	}
	dispose() {
		this.observer.disconnect();
	}
	thumb() {
		return new Thumb();
	}
	name({ value }) {
		return String(value);
	}
	go(row, column, click) {
		const place = this.rows[row]?.places[column];
		if (place) this.choose(place.value, this.rows[row].key, click);
	}
	build(axis, rows) {
		const places = rows[0].places;
		this.row = this.column = -1;
		this.el.style.setProperty("--dlw-places", String(places.length));
		this.heads = places.map((place, column) => {
			const press = { click: (event) => this.go(this.row, column, event) };
			return h("div", { class: "dlw-number", role: "columnheader", ...press }, this.name(place));
		});
		this.lines = rows.map(({ label, title }, row) => {
			const press = { click: () => this.go(row, this.column) };
			const head = h("div", { class: "dlw-row-head", role: "rowheader", title, ...press }, h("span", {}, label));
			return { head, thumbs: places.map((_, column) => this.cell(row, column)) };
		});
		const line = (...cells) => h("div", { class: "dlw-row", role: "row" }, ...cells);
		put(
			this.el,
			line(h("div", { class: "dlw-row-head", role: "columnheader" }, axis), ...this.heads),
			...this.lines.map(({ head, thumbs }) => line(head, ...thumbs.map(({ el }) => el)))
		);
	}
	cell(row, column) {
		const thumb = this.thumb();
		thumb.el.setAttribute("role", "gridcell");
		thumb.el.setAttribute(SUPPRESS, "true");
		thumb.el.addEventListener("click", (event) => {
			this.go(row, column, event);
			thumb.el.focus({ preventScroll: true });
		});
		return thumb;
	}
	reveal() {
		if (!this.current) return;
		const [frame, box] = [this.el, this.current].map((el) => el.getBoundingClientRect());
		const [left, top] = [this.lines[0].head.offsetWidth, this.heads[0].getBoundingClientRect().bottom - frame.top];
		this.el.scrollLeft += Math.min(0, box.left - frame.left - left) + Math.max(0, box.right - frame.right);
		this.el.scrollTop += Math.min(0, box.top - frame.top - top) + Math.max(0, box.bottom - frame.bottom);
	}
};

// src/shared/steps.ts
var LABEL_HEIGHT = 17;
var Steps = class {
	constructor(choose) {
		this.choose = choose;
		put(this.el, h("div", { class: "dlw-label", "aria-hidden": "true" }, "step"), h("div", {}, this.range, this.scale));
		this.observer.observe(this.scale);
	}
	choose;
	el = h("div", { class: "dlw-steps", hidden: true });
	range = axisRange("Denoising step", "dlw-range dlw-range-up", (index) => this.go(index));
	scale = h("div", { class: "dlw-scale", "aria-hidden": "true" });
	ticks = [];
	rows = [];
	observer = new ResizeObserver(() => this.thin());
	update(ticks, step, valueText, why) {
		this.el.hidden = !ticks.length;
		if (ticks.length !== this.ticks.length) this.build(ticks.length);
		this.ticks = ticks;
		const current = ticks.findIndex((tick) => tick.step === step);
		ticks.forEach(({ step: step2, mark, title }, index) => {
			const row = this.rows[index];
			row.className = `dlw-tick dlw-is-${mark}${index === current ? " dlw-current" : ""}`;
			row.title = why || title;
			write(row.lastElementChild, step2 === null ? "final" : String(step2 + 1));
		});
		if (this.range.value !== String(current)) this.range.value = String(current);
		this.range.setAttribute("aria-valuetext", valueText);
		this.range.disabled = !!why;
		this.range.title = why;
	}
	move(by) {
		this.go(Number(this.range.value) + by);
	}
	dispose() {
		this.observer.disconnect();
	}
	go(index) {
		const tick = this.ticks[index];
		if (tick && !this.range.disabled) this.choose(tick.step);
	}
	build(count) {
		this.rows = Array.from(
			{ length: count },
			(_, index) => h("div", { click: () => this.go(index) }, h("i", { class: "dlw-mark" }), h("span", { class: "dlw-number" }))
		);
		put(this.scale, ...this.rows.toReversed());
		this.el.style.setProperty("--dlw-places", String(count));
		this.range.max = String(count - 1);
		this.thin();
	}
	thin() {
		const labels = this.rows.toReversed().map((row) => row.lastElementChild);
		thin(labels, LABEL_HEIGHT, this.scale.clientHeight);
	}
};

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

// src/layer_slider.ts
var WATCHED = [
	...["layer", "step", "token", "layers", "num_layers", "prompt", "tokens", "settings", "snapshots", "kept"],
	...["status", "message", "notice", "progress", "failures", "token_failures"]
].map((trait) => `change:${trait}`);
var list = (...parts) => parts.filter(Boolean).join(", ");
function go(session, spot) {
	for (const axis of ["token", "step", "layer"]) if (axis in spot) session.set(axis, spot[axis]);
}
function goOn(session) {
	const { model, player, store } = session;
	const next = spotsAlong(model, player.way).find((spot) => store.get(keyOf(spot)));
	if (next) go(session, player.way.startsWith("step") ? { step: next.step } : { layer: next.layer });
	return !!next;
}
var View = class extends Instrument {
	grid = new PictureGrid("Tokens and layers", (layer, token) => {
		this.goTo({ layer, token });
	});
	steps = new Steps((step) => this.goTo({ step }));
	constructor(session) {
		super(session, HELP, "Layer", (layer) => this.goTo({ layer }));
		this.film.el.after(this.grid.el);
		this.picture.el.append(this.steps.el);
		this.offs.push(listen(session.model, WATCHED, () => this.schedule()));
		this.offs.push(() => (this.grid.dispose(), this.steps.dispose()));
		this.update();
	}
	goTo(spot) {
		this.session.player.pause();
		go(this.session, spot);
	}
	keyboard() {
		return !this.grid.el.hidden && this.grid.current || this.film.range;
	}
	onOwnKey(key, target) {
		if (!target.matches(AXIS)) return false;
		const row = this.get("kept")[Number(key) - 1];
		const up = { ArrowUp: 1, ArrowDown: -1 }[key];
		const on = { ArrowLeft: -1, ArrowRight: 1 }[key];
		if (row || key === "Escape" && keptOf(this.session.model)) this.goTo({ token: row?.token ?? null });
		else if (target === this.grid.current) return this.grid.key(key);
		else if (up && target === this.film.range && !this.steps.el.hidden) this.steps.move(up);
		else if (on && target === this.steps.range) this.film.move(on);
		else return false;
		return true;
	}
	current() {
		const spot = this.spot();
		const { layer, step, token } = spot;
		const part = token !== null ? [this.label(token)] : step !== null ? ["step", step + 1] : [];
		return [this.pictureOf(spot), fileName("lens", this.get("prompt"), "layer", layer, ...part)];
	}
	update() {
		const { model, player, kernel, store, folded } = this.session;
		const [settings, kept, snapshots] = [this.get("settings"), this.get("kept"), this.get("snapshots")];
		const status = this.status();
		const empty = status === "empty";
		const spot = this.spot();
		const picture = this.pictureOf(spot);
		const name = layerName(settings, spot.layer);
		const where = settings.question === "ablation" ? name : `${name} of ${this.get("num_layers") - 1}`;
		const part = kept.length ? this.name(spot.token) : "";
		const unfinished = picture && (!picture.final || spot.step !== null);
		const places = empty ? holes() : this.places(spot, status);
		const place = places.find(({ value: value2 }) => value2 === spot.layer);
		const missing = { failed: "failed", running: "being painted" }[place?.mark] ?? "not computed";
		const at = spot.step === null ? "" : `step ${spot.step + 1} `;
		const what = picture ? this.stepping(spot, picture) : at + missing;
		const { width, height } = store.any?.bitmap ?? { width: empty ? 4 : 1, height: 1 };
		const ratio = width / height;
		const facts = empty ? [] : [where, part, what, ...settingFacts(settings)].filter(Boolean);
		const negative = settings.negative_prompt ? `
negative prompt: ${settings.negative_prompt}` : "";
		const marked = keptOf(model)?.places ?? [this.get("token")];
		this.caption.update(this.get("tokens"), marked, facts, (settings.model ?? "") + negative);
		const label = list(`${where} of “${this.get("prompt")}”`, part, what);
		this.picture.update(picture, ratio, label, this.hole(spot, status, place), unfinished ? what : "");
		const value = list(where, part, picture && !unfinished ? "" : what);
		this.film.update(places, spot.layer, empty ? "" : value, ratio);
		const ticks = (snapshots.length ? [...snapshots, null] : []).map((step) => {
			return { step, ...this.place({ ...spot, step, token: null }, status) };
		});
		this.steps.update(ticks, spot.step, what, spot.token === null ? "" : "Steps are kept of the whole prompt only");
		const open = kept.length > 0 && !folded;
		this.film.el.hidden = open;
		this.grid.el.hidden = !open;
		this.picture.el.classList.toggle("dlw-smaller", open);
		if (open) this.grid.update("layer", this.rows(spot, status), spot.token, spot.layer, ratio);
		this.notice.update(this.lines(status), status === "failed" || !!kernel.fileError);
		this.foot.update({
			playable: spotsAlong(model, player.way).some((each) => this.pictureOf(each)),
			ways: waysFrom(model),
			grid: kept.length > 0,
			progress: empty ? "" : this.progress(status),
			running: status === "running",
			picture: !!picture,
			anything: this.painted(null) > 0
		});
	}
	spot() {
		return spotOf(this.session.model);
	}
	reason(spot) {
		return spot.token === null ? this.get("failures")[spot.layer] : this.get("token_failures")[keyOf(spot)];
	}
	pictureOf(spot) {
		const picture = this.session.store.get(keyOf(spot));
		return picture && (picture.final || !this.reason(spot)) ? picture : void 0;
	}
	places(spot, status) {
		return this.get("layers").map((layer) => this.place({ ...spot, layer }, status));
	}
	place(spot, status) {
		const { layer, step, token } = spot;
		const [picture, reason] = [this.pictureOf(spot), this.reason(spot)];
		const { running, running_tokens } = this.get("progress");
		const own = running_tokens?.some(([of, part]) => of === layer && part === token);
		const now = token === null ? running?.includes(layer) : own;
		const how = picture && this.stepping(spot, picture);
		let mark = "hollow";
		let what = "not computed";
		if (picture?.final) [mark, what] = ["done", step === null ? "painted" : "prediction"];
		else if (reason) [mark, what] = ["failed", `failed. ${reason}`];
		else if (status === "running" && now) [mark, what] = ["running", how ?? "being painted"];
		else if (how) [mark, what] = ["preview", how];
		return { value: layer, mark, title: `${this.title(spot)}: ${what}`, picture };
	}
	title({ layer, step, token }) {
		return list(layerName(this.get("settings"), layer), token !== null ? this.name(token) : step !== null ? `step ${step + 1}` : "");
	}
	tokens() {
		return [null, ...this.get("kept").map((row) => row.token)];
	}
	rows(spot, status) {
		return this.tokens().map((token) => {
			const places = this.places({ ...spot, step: token === null ? spot.step : null, token }, status);
			return { key: token, label: this.label(token), title: this.name(token), places };
		});
	}
	label(token) {
		const parts = { null: "whole prompt", "-1": "padding only", "-2": "prompt only" };
		if (token === null || token < 0) return parts[String(token)] ?? "";
		const places = this.get("kept").find((row) => row.token === token)?.places ?? [token];
		const pieces = this.get("tokens").filter(({ index }) => places.includes(index));
		const texts = pieces.map(({ text, kind, joined }) => (joined ? "" : " ") + (kind === "word" ? text : kind));
		return texts.join("").trim();
	}
	name(token) {
		if (token !== null && token >= 0) return `only “${this.label(token)}”`;
		const marked = this.get("token");
		const missing = token === null && marked !== null && !keptOf(this.session.model);
		return this.label(token) + (missing ? ` (“${this.label(marked)}” by itself is not kept)` : "");
	}
	stepping(spot, { step, final }) {
		const of = this.get("settings").steps;
		const count = `step ${step}${of ? `/${of}` : ""}`;
		const wanted = spot.token === null ? this.get("step") : null;
		const missing = wanted === null || wanted === spot.step ? "" : ` (step ${wanted + 1} is not kept)`;
		if (spot.step !== null) return `prediction at ${count}${missing}`;
		return final ? of ? count + missing : "" : `preview · ${count}`;
	}
	hole(spot, status, place) {
		if (status === "empty") return 'Nothing yet. Show a run:\nwidget.show(lens.start("a pink cat"))';
		const [what, reason] = [this.title(spot), this.reason(spot)];
		if (reason) return `${what} failed.
${reason}`;
		if (place?.mark === "running") return `${what}: being painted`;
		return `${what}: ${status === "running" ? "waiting for its turn" : "not computed"}`;
	}
	lines(status) {
		const lines = [this.get("notice"), this.session.kernel.fileError];
		if (status === "failed") lines.unshift("The run failed; what is painted stays.", this.get("message"));
		if (status === "stopped" && this.get("status") === "running") {
			lines.push("The kernel of this run is gone: what was painted stays, GIF and HTML need a kernel.");
		}
		return lines;
	}
	painted(token) {
		return this.get("layers").filter((layer) => this.pictureOf({ layer, step: null, token })?.final).length;
	}
	progress(status) {
		const tokens = this.tokens();
		const painted = tokens.reduce((sum, token) => sum + this.painted(token), 0);
		const total = tokens.length * this.get("layers").length;
		const unit = tokens.length > 1 ? "pictures" : "layers";
		return progressText(status, painted, total, unit, this.get("progress").seconds_left);
	}
};
var layer_slider_default = widget(
	(model) => new Session(model, goOn, () => fileName("lens", model.get("prompt"))),
	(session) => new View(session)
);
export {
	layer_slider_default as default
};
