// src/epoch_scrubber_help.ts
var HELP = {
	title: "What am I looking at?",
	paragraphs: [
		"While a model is fine-tuned, the same prompts are painted again and again from the same noise. Each column is one epoch, 0 is the model before training; each row is a layer of the text encoder, 0 the bare embeddings. Where two pictures of a row differ, training made the difference.",
		"Colour by drift: how far a place has moved since epoch 0, by the encoder's states, the latents, or the picture (1 − SSIM). Dark is unchanged; the bright end is the number in the legend, one scale for all prompts.",
		"A flag marks the epoch and the layer at which something began to go wrong: a class prompt that turns into the subject, or a control prompt that has nothing to do with it and changes all the same.",
		"The loss stands above, over the same epochs. It says little about whether the subject is learned: look."
	],
	keys: [
		["← →", "one epoch back, on"],
		["↑ ↓", "one layer up, down"],
		["Home End", "first, last epoch"],
		["1 – 9", "prompt"],
		["Space", "play, pause"],
		["?", "this help"]
	],
	marks: [
		["done", "painted"],
		["running", "being painted"],
		["hollow", "not painted"]
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
function colourOf(share, ramp) {
	const at = 3 * Math.round(255 * Math.min(1, Math.max(0, share)));
	return `rgb(${TABLES[ramp].slice(at, at + 3).join()})`;
}
function paintRamp(canvas, ramp) {
	const values = Uint8Array.from({ length: 256 }, (_, value) => value);
	paintHeat(canvas, [{ plane: { values, scale: 1, width: 256, height: 1 }, most: 1, ramp }]);
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

// src/attention/legend.ts
var Legend = class {
	el = h("div", { class: "dlw-legend" });
	unit = h("div", { class: "dlw-unit" });
	range = h("div", { class: "dlw-range-note" });
	value = h("div", { class: "dlw-value" });
	lines = [0, 1].map((ramp) => {
		const colours = h("canvas");
		paintRamp(colours, ramp);
		const bar = h("span", { class: "dlw-bar", "aria-hidden": "true" }, colours);
		const [name, most] = [h("b", { class: `dlw-hue-${ramp}` }), h("span")];
		return { el: h("div", { class: "dlw-scale-line" }, h("span", {}, "0"), bar, most, name), name, most };
	});
	constructor() {
		put(this.el, this.unit, ...this.lines.map(({ el }) => el), this.range, this.value);
	}
	update(unit, scales, range) {
		write(this.unit, unit);
		write(this.range, range);
		this.lines.forEach(({ el, name, most }, ramp) => {
			const scale = scales.find((each) => each.ramp === ramp);
			el.hidden = !scale;
			name.hidden = !scale?.name;
			write(name, scale?.name ?? "");
			write(most, scale ? digits(scale.most) : "");
		});
	}
	tell(words) {
		write(this.value, words || " ");
	}
};

// src/scrub/scene.ts
var MEASURES = {
	cosine_distance: ["states", "cosine distance of the states since epoch 0"],
	latent_rms: ["latents", "rms change of the latents since epoch 0"],
	ssim_distance: ["1 − SSIM", "1 − SSIM of the pictures, against epoch 0"]
};
var nearest = (values, wanted) => values.includes(wanted) ? wanted : values.findLast((each) => each <= wanted) ?? values[0] ?? wanted;
var Scene = class {
	constructor(session) {
		this.session = session;
		this.model = session.model;
	}
	session;
	model;
	get(name) {
		return this.model.get(name);
	}
	spot() {
		return {
			epoch: nearest(this.get("columns"), this.get("epoch")),
			layer: nearest(this.get("layers"), this.get("layer"))
		};
	}
	probe() {
		return this.get("probes")[this.get("probe")];
	}
	pictureOf({ epoch, layer }) {
		return this.session.store.get(`probe/${this.get("probe")}/epoch/${epoch}/layer/${layer}`);
	}
	drift(measure, { epoch, layer }, probe = this.get("probe")) {
		const row = this.get("drift")[`${probe}/${epoch}`]?.[measure];
		return row?.[this.get("layers").indexOf(layer)] ?? null;
	}
	most(measure) {
		const rows = Object.values(this.get("drift")).flatMap((row) => row[measure] ?? []);
		return Math.max(0, ...rows.map((value) => value ?? 0));
	}
	measured(spot) {
		const values = Object.keys(MEASURES).map((measure) => [measure, this.drift(measure, spot)]);
		const known = values.filter(([, value]) => value !== null);
		return known.map(([measure, value]) => `${MEASURES[measure][0]} ${digits(value)}`).join(" · ");
	}
	alarms(spot) {
		const mine = this.get("alarms").filter(({ probe }) => probe === this.get("probe"));
		return mine.filter(({ epoch, layer }) => epoch === spot.epoch && layer === spot.layer);
	}
	loss(epoch) {
		const { points } = this.get("losses");
		const point = points?.findLast(([at]) => at <= epoch) ?? (epoch > 0 ? points?.[0] : void 0);
		return point?.[1] ?? null;
	}
	places(layer, status) {
		const colour = this.get("colour");
		const most = colour ? this.most(colour) : 0;
		return this.get("columns").map((epoch) => {
			const spot = { epoch, layer };
			const [picture, value] = [this.pictureOf(spot), colour ? this.drift(colour, spot) : null];
			const mark = this.mark(spot, status);
			const what = picture ? this.measured(spot) : { running: "being painted" }[mark] ?? "not painted";
			return {
				value: epoch,
				mark,
				title: `epoch ${epoch}, layer ${layer}${what && `: ${what}`}`,
				picture,
				share: value === null || !picture ? null : most ? value / most : 0,
				flagged: this.alarms(spot).length > 0
			};
		});
	}
	mark(spot, status) {
		const { doing, epoch } = this.get("progress");
		if (this.pictureOf(spot)) return "done";
		return status === "running" && doing === "painting" && epoch === spot.epoch ? "running" : "hollow";
	}
	goOn() {
		const { player } = this.session;
		const axis = player.way.startsWith("layer") ? "layer" : "epoch";
		const spot = this.spot();
		const values = this.get(axis === "layer" ? "layers" : "columns");
		const at = values.indexOf(spot[axis]);
		const ahead = [...values.slice(at + 1), ...values.slice(0, at)];
		if (player.way.endsWith("-")) ahead.reverse();
		const next = ahead.find((value) => this.pictureOf({ ...spot, [axis]: value }));
		if (next !== void 0) this.session.set(axis, next);
		return next !== void 0;
	}
};

// src/scrub/controls.ts
var ROLES = { instance: "subject", class: "class", control: "control" };
var COLOURS = [
	["", "off", "The pictures as they are"],
	...Object.keys(MEASURES).map((measure) => [measure, ...MEASURES[measure]])
];
var ScrubControls = class {
	el = h("div", { class: "dlw-controls" });
	probe;
	colours;
	known = "";
	constructor(does) {
		this.probe = h("select", {
			class: "dlw-select",
			"aria-label": "Prompt",
			title: "Whose pictures are shown (keys 1 to 9)",
			[SUPPRESS]: "true",
			change: () => does.probe(Number(this.probe.value))
		});
		this.colours = new Map(
			COLOURS.map(([colour, label2, title]) => [colour, button(label2, title, () => does.colour(colour))])
		);
		const label = (text) => h("span", { class: "dlw-label", "aria-hidden": "true" }, text);
		const group = { class: "dlw-group", role: "group" };
		put(
			this.el,
			h("div", group, label("Prompt"), this.probe),
			h("div", { ...group, "aria-label": "Colour by drift" }, label("Colour by drift"), ...this.colours.values())
		);
	}
	update(probes, probe, colour, measured) {
		this.el.hidden = !probes.length;
		const known = JSON.stringify(probes.map(({ prompt, role, noise }) => [prompt, role, noise]));
		if (known !== this.known) {
			const name = ({ prompt, role, noise }) => `${ROLES[role]}: ${prompt}${noise ? ` · noise ${noise + 1}` : ""}`;
			put(this.probe, ...probes.map((each, at) => h("option", { value: at }, name(each))));
		}
		this.known = known;
		this.probe.value = String(probe);
		for (const [each, press] of this.colours) {
			press.setAttribute("aria-pressed", String(each === colour));
			press.disabled = !measured;
		}
	}
};
var AlarmList = class {
	constructor(go) {
		this.go = go;
	}
	go;
	el = h("div", { class: "dlw-alarms", role: "list", "aria-label": "Alarms" });
	known = "";
	update(alarms) {
		this.el.hidden = !alarms.length;
		const known = JSON.stringify(alarms);
		if (known === this.known) return;
		this.known = known;
		put(
			this.el,
			...alarms.map((alarm) => {
				const press = button("", "Go to this epoch and layer", () => this.go(alarm));
				write(press, `epoch ${alarm.epoch}, layer ${alarm.layer}`);
				const words = h("span", {}, ` ${alarm.kind}: ${alarm.message}`);
				return h("div", { class: "dlw-alarm dlw-flagged", role: "listitem" }, press, words);
			})
		);
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

// src/shared/thumb.ts
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

// src/scrub/chart.ts
var SVG = "http://www.w3.org/2000/svg";
var HEIGHT = 100;
function placeOf(columns, epoch) {
	const after = columns.findIndex((each) => each > epoch);
	const from = after < 0 ? columns.length - 2 : after - 1;
	const [a, b] = [columns[from], columns[from + 1]];
	const place = a === void 0 || b === void 0 ? Math.max(0, from) : from + (epoch - a) / (b - a);
	return Math.min(columns.length, Math.max(0, place + 0.5));
}
var LossChart = class {
	row;
	head = h("div", { class: "dlw-row-head", role: "rowheader" });
	most = h("span");
	least = h("span");
	svg = document.createElementNS(SVG, "svg");
	line = document.createElementNS(SVG, "polyline");
	cursor = h("i", { class: "dlw-cursor" });
	plot = h("div", { class: "dlw-plot", role: "gridcell" });
	version = "";
	constructor() {
		put(this.head, this.most, h("span", {}, "loss"), this.least);
		this.svg.setAttribute("preserveAspectRatio", "none");
		this.svg.append(this.line);
		put(this.plot, this.svg, this.cursor);
		this.row = h("div", { class: "dlw-row dlw-losses", role: "row" }, this.head, this.plot);
	}
	update(points, steps, columns, epoch) {
		this.row.hidden = !points.length;
		this.cursor.style.left = `${100 * placeOf(columns, epoch) / columns.length}%`;
		const version = JSON.stringify([points, columns]);
		if (version === this.version || !points.length) return;
		this.version = version;
		const losses = points.map(([, loss]) => loss);
		const [least, most] = [Math.min(...losses), Math.max(...losses)];
		const high = (loss) => HEIGHT * (0.94 - 0.88 * ((loss - least) / (most - least || 1)));
		this.svg.setAttribute("viewBox", `0 0 ${100 * columns.length} ${HEIGHT}`);
		this.line.setAttribute("points", points.map(([at, loss]) => `${100 * placeOf(columns, at)},${high(loss)}`).join(" "));
		write(this.most, digits(most));
		write(this.least, digits(least));
		const mean = steps > 1 ? `, each point the mean of ${steps} steps` : "";
		this.plot.title = `Loss from ${digits(least)} to ${digits(most)}${mean}`;
		this.plot.setAttribute("aria-label", this.plot.title);
	}
};

// src/scrub/matrix.ts
var DriftCell = class extends Thumb {
	show(place, current) {
		super.show(place, current);
		const { share, flagged } = place;
		this.el.setAttribute("aria-label", place.title);
		this.el.classList.toggle("dlw-coloured", share !== null);
		this.el.classList.toggle("dlw-flagged", flagged);
		this.el.style.setProperty("--dlw-drift", share === null ? "none" : colourOf(share, 0));
	}
};
var Matrix = class extends PictureGrid {
	chart = new LossChart();
	flag(alarms) {
		this.heads.forEach((head, column) => {
			const epoch = this.rows[0].places[column].value;
			const mine = alarms.filter((alarm) => alarm.epoch === epoch);
			head.classList.toggle("dlw-flagged", mine.length > 0);
			head.title = mine.map(({ message }) => message).join("\n");
		});
	}
	build(axis, rows) {
		super.build(axis, rows);
		this.el.prepend(this.chart.row);
	}
	thumb() {
		return new DriftCell();
	}
};

// src/scrub/sheet.ts
var CELL = 96;
var GAP = 6;
var FRAME = 14;
var LEFT = 76;
var TOP = 72;
function sheet(rows, title, note) {
	const columns = rows[0].places;
	const step = CELL + GAP;
	const canvas = h("canvas", { width: LEFT + columns.length * step, height: TOP + rows.length * step });
	const pen = canvas.getContext("2d");
	pen.fillStyle = "#fff";
	pen.fillRect(0, 0, canvas.width, canvas.height);
	const write2 = (text, x, y, align, size = 14) => {
		pen.font = `${size}px sans-serif`;
		pen.textAlign = align;
		pen.fillStyle = "#404040";
		pen.fillText(text, x, y, canvas.width - x);
	};
	write2(title, GAP, 20, "left", 16);
	write2(note, GAP, 40, "left", 12);
	write2("layer · epoch", GAP, TOP - 10, "left", 11);
	columns.forEach(({ value }, across) => write2(String(value), LEFT + across * step + CELL / 2, TOP - 10, "center"));
	rows.forEach(({ key, places }, down) => {
		const y = TOP + down * step;
		write2(String(key), LEFT - 12, y + CELL / 2, "right");
		places.forEach(({ picture, share }, across) => {
			const box = [LEFT + across * step, y, CELL, CELL];
			pen.strokeStyle = "#d0d0d0";
			pen.strokeRect(box[0] + 0.5, box[1] + 0.5, CELL - 1, CELL - 1);
			if (!picture) return;
			pen.imageSmoothingEnabled = Math.max(picture.bitmap.width, picture.bitmap.height) >= CELL;
			const frame = share === null ? 0 : FRAME;
			if (share !== null) pen.fillStyle = colourOf(share, 0);
			if (share !== null) pen.fillRect(...box);
			pen.drawImage(picture.bitmap, box[0] + frame, box[1] + frame, CELL - 2 * frame, CELL - 2 * frame);
		});
	});
	return canvas;
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
function widget(begin2, open) {
	return {
		initialize({ model }) {
			const session = begin2(model);
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

// src/epoch_scrubber.ts
var WATCHED = [
	...["epoch", "layer", "probe", "colour", "probes", "columns", "epochs", "layers", "num_layers", "settings", "alarms"],
	...["losses", "drift", "status", "message", "notice", "progress"]
].map((trait) => `change:${trait}`);
var View = class extends Instrument {
	scene = new Scene(this.session);
	matrix = new Matrix("Epochs and layers", (epoch, layer) => this.goTo({ epoch, layer }));
	legend = new Legend();
	drifted = h("div", { class: "dlw-drifted" });
	alarms = new AlarmList(({ epoch, layer, probe }) => this.goTo({ epoch, layer, probe }));
	controls = new ScrubControls({
		probe: (probe) => this.goTo({ probe }),
		colour: (colour) => this.session.set("colour", colour)
	});
	whole = button("Matrix", "Save the whole matrix as PNG", () => this.saveMatrix());
	constructor(session) {
		super(session, HELP, "Epoch", () => {
		});
		this.root.classList.add("dlw-scrub");
		this.matrix.el.classList.add("dlw-matrix");
		this.film.el.hidden = true;
		const look = h("div", { class: "dlw-look" });
		this.picture.el.replaceWith(this.controls.el, h("div", { class: "dlw-split" }, look, this.matrix.el));
		put(look, this.picture.el, this.drifted, this.legend.el, this.alarms.el);
		this.foot.png.after(this.whole);
		this.offs.push(listen(session.model, WATCHED, () => this.schedule()));
		this.offs.push(() => this.matrix.dispose());
		this.update();
	}
	goTo(place) {
		this.session.player.pause();
		for (const name of ["probe", "epoch", "layer"]) {
			if (place[name] !== void 0) this.session.set(name, place[name]);
		}
	}
	keyboard() {
		return this.matrix.current ?? this.root;
	}
	onOwnKey(key, target) {
		if (!target.matches(AXIS)) return false;
		const probe = Number(key) - 1;
		if (!this.get("probes")[probe]) return this.matrix.key(key);
		this.goTo({ probe });
		return true;
	}
	current() {
		const spot = this.scene.spot();
		const name = fileName("training", "epoch", spot.epoch, "layer", spot.layer, this.scene.probe()?.prompt ?? "");
		return [this.scene.pictureOf(spot), name];
	}
	rows(status) {
		return this.get("layers").map((layer) => {
			return { key: layer, label: String(layer), title: `layer ${layer}`, places: this.scene.places(layer, status) };
		});
	}
	saveMatrix() {
		const colour = this.get("colour");
		const note = colour ? `${MEASURES[colour][1]}: dark 0, bright ${digits(this.scene.most(colour))}` : "";
		const prompt = this.scene.probe()?.prompt ?? "";
		savePng(sheet(this.rows(this.status()), prompt, note), fileName("training", prompt));
	}
	update() {
		const status = this.status();
		const [scene, spot] = [this.scene, this.scene.spot()];
		const [columns, colour] = [this.get("columns"), this.get("colour")];
		const empty = status === "empty" || !columns.length || !this.get("layers").length;
		const [picture, probe] = [scene.pictureOf(spot), scene.probe()];
		const { width, height } = this.session.store.any?.bitmap ?? { width: 1, height: 1 };
		const ratio = width / height;
		const of = this.get("progress").epochs ?? columns.at(-1);
		const where = `epoch ${spot.epoch} of ${of}`;
		const layer = `layer ${spot.layer} of ${this.get("num_layers") - 1}`;
		const loss = scene.loss(spot.epoch);
		const settings = { ...this.get("settings") };
		if (settings.seed !== void 0) settings.seed += probe?.noise ?? 0;
		const facts = [where, layer, picture ? "" : "not painted", loss === null ? "" : `loss ${digits(loss)}`];
		this.caption.update(probe?.tokens ?? [], [], empty ? [] : [...facts, ...settingFacts(settings)].filter(Boolean), "");
		const label = [where, layer, `of “${probe?.prompt ?? ""}”`, picture ? "" : "not painted"].filter(Boolean).join(", ");
		this.picture.update(picture, ratio, label, this.hole(spot, status), "");
		this.controls.update(this.get("probes"), this.get("probe"), colour, Object.keys(this.get("drift")).length > 0);
		this.matrix.el.hidden = empty;
		if (!empty) {
			this.matrix.update("layer", this.rows(status), spot.layer, spot.epoch, ratio);
			this.matrix.flag(this.get("alarms"));
			const { points = [], steps = 1 } = this.get("losses");
			this.matrix.chart.update(points, steps, columns, spot.epoch);
		}
		const measured = picture ? scene.measured(spot) : "";
		this.drifted.hidden = empty;
		write(this.drifted, measured && `since epoch 0: ${measured}`);
		this.legend.el.hidden = empty || !colour;
		if (colour) {
			const so = status === "running" ? ", so far" : "";
			this.legend.update(MEASURES[colour][1], [{ name: "", most: scene.most(colour), ramp: 0 }], `one scale for all prompts${so}`);
			const value = scene.drift(colour, spot);
			this.legend.tell(value === null ? "" : `here: ${digits(value)}`);
		}
		this.alarms.update(this.get("alarms"));
		this.notice.update(this.lines(status), status === "failed" || !!this.session.kernel.fileError);
		this.whole.disabled = !this.get("epochs").length;
		this.foot.update({
			playable: this.get("epochs").length > 0,
			ways: ["epoch+", "epoch-", "layer+", "layer-"],
			grid: false,
			progress: empty && status !== "running" ? "" : this.progress(status),
			running: status === "running",
			picture: !!picture,
			anything: !!picture,
			film: "all epochs of this layer"
		});
	}
	hole(spot, status) {
		if (status === "empty") {
			return "Nothing yet. Show a training:\nwidget.show(train_dreambooth(config, start=True))";
		}
		if (!this.get("layers").length) return status === "running" ? "The first pictures are on their way" : "No pictures";
		const painting = this.scene.mark(spot, status) === "running" ? "being painted" : "not painted";
		return `epoch ${spot.epoch}, layer ${spot.layer}: ${painting}`;
	}
	lines(status) {
		const lines = [this.get("notice"), this.session.kernel.fileError];
		if (status === "failed") lines.unshift("The training failed; what is painted stays.", this.get("message"));
		if (status === "stopped" && this.get("status") === "running") {
			lines.push("The kernel of this training is gone: what was painted stays, GIF needs a kernel.");
		} else if (status === "stopped") lines.push(this.get("message"));
		return lines;
	}
	progress(status) {
		const { doing, step, steps, seconds_left } = this.get("progress");
		const painted = progressText(status, this.get("epochs").length, this.get("columns").length, "epochs painted", seconds_left);
		return status === "running" && doing ? `${doing}, step ${step} of ${steps} · ${painted}` : painted;
	}
};
function begin(model) {
	const name = () => fileName("training", "layer", model.get("layer"), model.get("probes")[model.get("probe")]?.prompt ?? "");
	const session = new Session(model, () => new Scene(session).goOn(), name);
	session.player.way = "epoch+";
	return session;
}
var epoch_scrubber_default = widget(begin, (session) => new View(session));
export {
	epoch_scrubber_default as default
};
