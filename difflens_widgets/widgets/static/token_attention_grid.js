// src/token_attention_grid_help.ts
var HELP = {
	title: "What am I looking at?",
	paragraphs: [
		"While the U-Net draws, each pixel looks at the tokens of the prompt, and its attention to all of them sums to 1. A map shows how much of it a word got, in its place on the picture: dark is none, bright is the number in the legend. Under a map the picture is grey, so that colour means attention only.",
		"Rows: the text encoder's layers, each with its own picture; the U-Net's blocks; or denoising steps. Blocks and steps are those of the layer on screen. All words share one range; start, end and padding, which often take most of the attention, have another.",
		"Maps tell where the model looks, which is not the same as why the picture is as it is."
	],
	keys: [
		["← →", "one layer back, on; in the grid: words"],
		["↑ ↓", "rows"],
		["Home End", "first, last"],
		["1 – 9", "pin a word"],
		["Shift ← →", "a second word"],
		["Esc", "clear the pins; close"],
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
function axisRange(name, look, go) {
	const input = () => go(Number(range.value));
	const axis = { type: "range", min: 0, step: 1, "aria-label": name, [SUPPRESS]: "true" };
	const range = h("input", { class: look, ...axis, input });
	return range;
}
function button(label, title, press) {
	return h("button", { type: "button", class: "dlw-button", title, [SUPPRESS]: "true", click: press }, label);
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

// src/attention/cells.ts
var MapCell = class extends Thumb {
	heat = h("canvas", { class: "dlw-heat", hidden: true });
	version = "";
	constructor() {
		super();
		this.el.firstElementChild.append(this.heat);
	}
	show(place, current) {
		super.show(place, current);
		const { heat, version } = place;
		this.el.classList.toggle("dlw-quiet", !place.pinned);
		this.el.setAttribute("aria-label", place.title);
		this.heat.hidden = !heat;
		this.el.classList.toggle("dlw-over", !!heat);
		if (heat && version !== this.version) paintHeat(this.heat, [heat]);
		this.version = heat ? version : "";
	}
};
var MapGrid = class extends PictureGrid {
	mark(rampOf) {
		this.heads.forEach((head, column) => {
			const place = this.rows[0].places[column];
			const ramp = rampOf(place.value);
			head.title = place.about;
			head.classList.toggle("dlw-current", ramp >= 0);
			for (const hue of [0, 1]) head.classList.toggle(`dlw-hue-${hue}`, ramp === hue);
		});
	}
	spotOf(target) {
		const cell = target.closest("[role=columnheader], [role=gridcell]");
		const column = (cells) => this.rows[0]?.places[cells.indexOf(cell ?? void 0)]?.value;
		if (!cell) return void 0;
		const lines = this.lines.map(({ thumbs }) => thumbs.map(({ el }) => el));
		const row = lines.findIndex((line) => line.includes(cell));
		const value = column(row < 0 ? this.heads : lines[row]);
		return value === void 0 ? void 0 : { row: this.rows[row], value };
	}
	thumb() {
		return new MapCell();
	}
	name(place) {
		return place.text;
	}
};

// src/attention/controls.ts
var ROWS = [
	["layers", "Encoder layers", "A row for each layer of the text encoder"],
	["blocks", "U-Net blocks", "A row for each block of the denoiser, of the layer on screen"],
	["steps", "Steps", "A row for each denoising step that was kept, of the layer on screen"]
];
var Controls = class {
	el = h("div", { class: "dlw-controls" });
	rows;
	block;
	special;
	perCell;
	opacity;
	blocks = null;
	constructor(does) {
		this.rows = new Map(ROWS.map(([rows, label2, title]) => [rows, button(label2, title, () => does.rows(rows))]));
		this.block = h("select", {
			class: "dlw-select",
			"aria-label": "Block",
			title: "Whose maps are shown",
			[SUPPRESS]: "true",
			change: () => does.block(this.block.value || null)
		});
		const special = "Columns for these tokens too; they have a range of their own";
		this.special = button("start, end, padding", special, does.special);
		const range = "Each map from 0 to its own highest value, or one range for all";
		this.perCell = button("Range per cell", range, does.perCell);
		this.opacity = h("input", {
			class: "dlw-opacity",
			type: "range",
			min: 0,
			max: 100,
			"aria-label": "Opacity of the maps",
			[SUPPRESS]: "true",
			input: () => does.opacity(Number(this.opacity.value) / 100)
		});
		const group = { class: "dlw-group", role: "group" };
		const label = (text) => h("span", { class: "dlw-label", "aria-hidden": "true" }, text);
		put(
			this.el,
			h("div", { ...group, "aria-label": "Rows" }, label("Rows"), ...this.rows.values(), this.block),
			h("div", group, this.special, this.perCell),
			h("div", group, label("Opacity"), this.opacity)
		);
	}
	update(state) {
		this.el.hidden = state.empty;
		for (const [rows, , title] of ROWS) {
			const choice = this.rows.get(rows);
			choice.setAttribute("aria-pressed", String(rows === state.rows));
			choice.disabled = !!state.refused[rows];
			choice.title = state.refused[rows] || title;
		}
		if (state.blocks !== this.blocks) {
			this.blocks = state.blocks;
			const transformer = state.blocks[0]?.startsWith("transformer");
			write(this.rows.get("blocks"), transformer ? "Transformer blocks" : "U-Net blocks");
			put(this.block, ...["", ...state.blocks].map((name) => h("option", { value: name }, name || "all blocks")));
		}
		this.block.hidden = state.rows !== "layers";
		this.block.value = state.block ?? "";
		this.special.setAttribute("aria-pressed", String(state.special));
		this.perCell.setAttribute("aria-pressed", String(state.perCell));
		const percent = String(Math.round(100 * state.opacity));
		if (this.opacity.value !== percent) this.opacity.value = percent;
		this.opacity.setAttribute("aria-valuetext", `${percent} %`);
	}
};

// src/attention/maps.ts
var Maps = class {
	constructor(session) {
		this.session = session;
	}
	session;
	known = { views: [], columns: [], starts: [], length: 0 };
	ranges = /* @__PURE__ */ new Map();
	rangesOf = "";
	get columns() {
		return this.session.model.get("columns");
	}
	columnOf(token) {
		return this.columns.find((column) => token !== null && (column.token === token || column.places.includes(token)));
	}
	plane({ layer, block, step }, column) {
		const { views, columns, starts, length } = this.layout();
		const entry = this.session.store.others.get(`maps/${layer}`);
		const number = views.findIndex((view) => view.block === block && view.step === step);
		const place = columns.indexOf(column);
		if (entry?.data.byteLength !== length || number < 0 || place < 0) return void 0;
		const { width, height } = views[number];
		const start = entry.data.byteOffset + starts[number] + place * width * height;
		const values = new Uint8Array(entry.data.buffer, start, width * height);
		return { values, scale: scaleOf(entry, number * columns.length + place), width, height };
	}
	most(words, name, chosen) {
		const { views, columns, length } = this.layout();
		const { store, model } = this.session;
		const state = [model.get("_run"), store.others.size].join();
		if (state !== this.rangesOf) [this.rangesOf, this.ranges] = [state, /* @__PURE__ */ new Map()];
		const key = [words, name].join();
		let most = this.ranges.get(key) ?? 0;
		if (this.ranges.has(key)) return most;
		for (const entry of store.others.values()) {
			views.forEach((view, number) => {
				if (entry.data.byteLength !== length || !chosen(view)) return;
				columns.forEach(({ kind }, place) => {
					if (kind === "word" === words) most = Math.max(most, scaleOf(entry, number * columns.length + place));
				});
			});
		}
		this.ranges.set(key, most);
		return most;
	}
	layout() {
		const [views, columns] = [this.session.model.get("_views"), this.columns];
		if (views === this.known.views && columns === this.known.columns) return this.known;
		let length = 4 * views.length * columns.length;
		const starts = views.map(({ width, height }) => {
			const start = length;
			length += width * height * columns.length;
			return start;
		});
		return this.known = { views, columns, starts, length };
	}
};
function scaleOf(entry, map) {
	return entry.data.getFloat32(4 * map, true);
}
function valueAt({ values, scale, width, height }, across, down) {
	const pixel = (share, size) => Math.min(size - 1, Math.max(0, Math.floor(share * size)));
	return values[pixel(down, height) * width + pixel(across, width)] / 255 * scale;
}
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

// src/shared/model.ts
function layerName(settings, layer) {
	if (settings.question !== "ablation") return `layer ${layer}`;
	return layer ? `block ${layer} skipped` : "nothing skipped";
}
function listen(model, events, callback) {
	for (const event of events) model.on(event, callback);
	return () => events.forEach((event) => model.off(event, callback));
}

// src/attention/scene.ts
var Scene = class {
	constructor(session) {
		this.session = session;
		this.maps = new Maps(session);
	}
	session;
	maps;
	pins() {
		const first = this.maps.columnOf(this.get("token"))?.token;
		const pinned = this.get("pinned");
		if (first === void 0) return [];
		return pinned[0] === first ? pinned.slice(0, 2) : [first];
	}
	cursor() {
		const columns = this.columns();
		const last = this.pins().findLast((pin) => columns.some(({ token }) => token === pin));
		return last ?? columns[0]?.token ?? 0;
	}
	columns() {
		const words = this.maps.columns.filter(({ kind }) => kind === "word");
		return words.length && this.session.folded ? words : this.maps.columns;
	}
	look() {
		const rows = this.get("rows");
		const steps = this.get("steps");
		const step = this.get("step");
		const nearest = step === null ? null : steps.findLast((each) => each <= step) ?? steps[0] ?? null;
		const layers = this.get("layers");
		const layer = layers.findLast((each) => each <= this.get("layer")) ?? layers[0] ?? 0;
		return rows === "steps" ? { layer, block: null, step: nearest } : { layer, block: this.get("block"), step: null };
	}
	key(look = this.look()) {
		return { layers: look.layer, blocks: look.block, steps: look.step }[this.get("rows")];
	}
	looks() {
		const look = this.look();
		const rows = this.get("rows");
		if (rows === "layers") {
			return this.get("layers").map((layer) => {
				const title = layerName(this.get("settings"), layer);
				return { key: layer, look: { ...look, layer }, label: title, title };
			});
		}
		if (rows === "blocks") {
			return [null, ...this.get("blocks")].map((block) => {
				const label = block ?? "all blocks";
				return { key: block, look: { ...look, block }, label, title: label };
			});
		}
		return [null, ...this.get("steps")].map((step) => {
			const label = step === null ? "all steps" : `step ${step + 1}`;
			return { key: step, look: { ...look, step }, label, title: label };
		});
	}
	most({ kind }, plane) {
		return this.get("per_cell") ? plane.scale : this.common(kind === "word");
	}
	common(words) {
		const rows = this.get("rows");
		const block = this.look().block;
		const chosen = {
			layers: (view) => view.step === null && view.block === block,
			blocks: (view) => view.step === null,
			steps: (view) => view.block === null
		};
		return this.maps.most(words, [rows, block].join(), chosen[rows]);
	}
	range() {
		if (this.get("per_cell")) return "each map from 0 to its own highest value";
		const rows = this.get("rows") === "layers" ? "of the grid" : "and rows, of every layer";
		const others = this.session.folded ? "" : `; start, end, padding: 0 to ${digits(this.common(false))}`;
		return `one range for all words ${rows}${others}`;
	}
	shown(look, tokens) {
		return tokens.flatMap((token) => {
			const column = this.maps.columnOf(token);
			const heat = this.heatOf(look, column, Math.max(0, this.pins().indexOf(token)));
			return heat ? [{ column, heat }] : [];
		});
	}
	heatOf(look, column, ramp) {
		const plane = this.pictureOf(look.layer)?.final ? this.maps.plane(look, column) : void 0;
		return plane && { plane, most: this.most(column, plane), ramp };
	}
	pictureOf(layer) {
		const picture = this.session.store.get(`layer/${layer}`);
		return picture && (picture.final || !this.get("failures")[layer]) ? picture : void 0;
	}
	single() {
		return this.get("settings").question === "picture";
	}
	name(layer) {
		return this.single() ? "" : layerName(this.get("settings"), layer);
	}
	stepping({ step, final }) {
		const of = this.get("settings").steps;
		const count = `step ${step}${of ? `/${of}` : ""}`;
		return final ? of ? count : "" : `preview · ${count}`;
	}
	place(layer, status) {
		const [picture, reason] = [this.pictureOf(layer), this.get("failures")[layer]];
		const running = status === "running" && this.get("progress").running?.includes(layer);
		let mark = "hollow";
		let what = "not computed";
		if (picture?.final) [mark, what] = ["done", "painted"];
		else if (reason) [mark, what] = ["failed", `failed. ${reason}`];
		else if (running) [mark, what] = ["running", picture ? this.stepping(picture) : "being painted"];
		else if (picture) [mark, what] = ["preview", this.stepping(picture)];
		return { value: layer, mark, title: [this.name(layer), what].filter(Boolean).join(": "), picture };
	}
	about(status) {
		const look = this.look();
		const picture = this.pictureOf(look.layer);
		const places = status === "empty" ? [] : this.get("layers").map((layer) => this.place(layer, status));
		const place = places.find(({ value }) => value === look.layer);
		const name = this.name(look.layer);
		const counted = name && this.get("settings").question !== "ablation";
		const where = counted ? `${name} of ${this.get("num_layers") - 1}` : name;
		const missing = { failed: "failed", running: "being painted" }[place?.mark] ?? "not computed";
		const { width, height } = this.session.store.any?.bitmap ?? { width: 1, height: 1 };
		const ratio = width / height;
		return { look, picture, ratio, places, place, where, what: picture ? this.stepping(picture) : missing };
	}
	row({ key, look, label, title }, status) {
		const of = this.place(look.layer, status);
		const pins = this.pins();
		const places = this.columns().map((column) => {
			const ramp = Math.max(0, pins.indexOf(column.token));
			const heat = this.heatOf(look, column, ramp);
			const told = heat ? `up to ${digits(heat.plane.scale)}` : of.mark === "done" ? "no maps" : of.title;
			const about = column.kind === "word" ? `“${column.text}”` : `${column.text} (${column.places.length})`;
			return {
				...of,
				value: column.token,
				title: `${title}, ${about}: ${told}`,
				text: column.text,
				about,
				pinned: pins.includes(column.token),
				heat,
				version: heat ? [this.get("_run"), ...Object.values(look), heat.most, ramp].join() : ""
			};
		});
		return { key, label, title, places };
	}
	lookName({ block, step }) {
		const [rows, wanted] = [this.get("rows"), this.get("step")];
		if (rows !== "steps") return block ?? "all blocks";
		if (step === null) return "all steps";
		return `maps of step ${step + 1}` + (wanted === null || wanted === step ? "" : ` (step ${wanted + 1} is not kept)`);
	}
	hole(status, place) {
		const way = 'widget.show(lens.start("a pink cat", attention=True))';
		if (status === "empty") return `Nothing yet. Show a run with its attention:
${way}`;
		const name = this.name(place?.value ?? 0);
		if (place?.mark === "failed") return `${name} failed.
${this.get("failures")[place.value]}`;
		if (place?.mark === "running") return `${name}: being painted`;
		return `${name}: ${status === "running" ? "waiting for its turn" : "not computed"}`;
	}
	notices(status) {
		const lines = [this.get("notice")];
		if (status === "failed") lines.unshift("The run failed; what is painted stays.", this.get("message"));
		if (status === "stopped" && this.get("status") === "running") {
			lines.push("The kernel of this run is gone: what was painted stays, with its maps.");
		}
		return lines;
	}
	get(name) {
		return this.session.model.get(name);
	}
};

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

// src/token_attention_grid.ts
var WATCHED = [
	...["layer", "step", "token", "rows", "block", "pinned", "per_cell", "opacity", "layers", "num_layers", "prompt"],
	...["tokens", "settings", "columns", "_views", "status", "message", "notice", "progress", "failures"]
].map((trait) => `change:${trait}`);
var View = class extends Instrument {
	scene = new Scene(this.session);
	grid = new MapGrid("Where words look", (value, key, click) => this.choose(value, key, click));
	legend = new Legend();
	heat = h("canvas", { class: "dlw-heat", hidden: true });
	controls = new Controls({
		rows: (rows) => this.session.set("rows", rows),
		block: (block) => this.session.set("block", block),
		special: () => {
			this.session.folded = !this.session.folded;
			this.schedule();
		},
		perCell: () => this.session.set("per_cell", !this.get("per_cell")),
		opacity: (opacity) => this.session.set("opacity", opacity)
	});
	pointed = null;
	pointer = null;
	shown = [];
	version = "";
	constructor(session) {
		super(session, HELP, "Layer", (layer) => this.goTo(layer));
		this.root.classList.add("dlw-words");
		const look = h("div", { class: "dlw-look" });
		this.picture.el.replaceWith(this.controls.el, h("div", { class: "dlw-split" }, look, this.grid.el));
		put(look, this.picture.el, this.legend.el);
		this.picture.frame.firstElementChild.after(this.heat);
		this.listenToPointer();
		this.offs.push(listen(session.model, WATCHED, () => this.schedule()));
		this.offs.push(() => this.grid.dispose());
		this.update();
	}
	goTo(layer) {
		this.session.player.pause();
		this.session.set("layer", layer);
	}
	choose(value, key, click) {
		const stays = key === this.scene.key();
		if (!stays) this.goToRow(key);
		if (click && (stays || !this.scene.pins().includes(value) || click.shiftKey)) this.pin(value, click.shiftKey);
		else if (!click && value !== this.scene.cursor()) this.pin(value, false);
	}
	goToRow(key) {
		const rows = this.get("rows");
		if (rows === "layers") this.goTo(key);
		else if (rows === "blocks") this.session.set("block", key);
		else this.session.set("step", key);
	}
	pin(token, second) {
		this.pointed = null;
		const before = this.scene.pins();
		const others = before.filter((each) => each !== token);
		const pins = second ? others.length < before.length ? others : [...before.slice(0, 1), token] : [token];
		this.setPins(!second && before.length === 1 && !others.length ? [] : pins);
	}
	setPins(pins) {
		this.session.set("token", pins[0] ?? null);
		this.session.set("pinned", pins);
	}
	keyboard() {
		return this.film.el.hidden ? this.grid.current ?? this.film.range : this.film.range;
	}
	onOwnKey(key, target, shift) {
		if (!target.matches(AXIS) || target.matches(".dlw-opacity")) return false;
		this.pointed = this.pointer = null;
		this.schedule();
		const words = this.scene.columns();
		const numbered = this.scene.maps.columns.filter(({ kind }) => kind === "word")[Number(key) - 1];
		const on = { ArrowLeft: -1, ArrowRight: 1 }[key];
		if (numbered) this.setPins([numbered.token]);
		else if (key === "Escape" && this.scene.pins().length) this.setPins([]);
		else if (shift && on) {
			const next = words[words.findIndex(({ token }) => token === this.scene.cursor()) + on];
			if (next && next.token !== this.scene.pins()[0]) this.setPins([...this.scene.pins().slice(0, 1), next.token]);
		} else if (target === this.grid.current || key === "ArrowUp" || key === "ArrowDown") return this.grid.key(key);
		else return false;
		return true;
	}
	listenToPointer() {
		const { root, caption } = this;
		const chipOf = (target) => {
			const chip = target.closest(".dlw-chip");
			return chip ? this.scene.maps.columnOf(Number(chip.dataset.index))?.token ?? null : null;
		};
		const point = (token) => {
			if (token === this.pointed) return;
			this.pointed = token;
			requestAnimationFrame(() => this.root.isConnected && this.updatePicture());
		};
		root.addEventListener("pointerover", ({ target }) => {
			point(this.grid.spotOf(target)?.value ?? chipOf(target));
		});
		root.addEventListener("pointermove", (event) => {
			this.pointer = event;
			this.legend.tell(this.read());
		});
		root.addEventListener("pointerleave", () => {
			this.pointer = null;
			point(null);
		});
		caption.el.addEventListener("click", ({ target, shiftKey }) => {
			const token = chipOf(target);
			if (token !== null) this.pin(token, shiftKey);
		});
	}
	read() {
		const { pointer } = this;
		const target = pointer?.target;
		if (!pointer || !target) return "";
		const at = (text, plane, frame) => {
			const { left, top, width, height } = frame.getBoundingClientRect();
			return `${text} ${digits(valueAt(plane, (pointer.clientX - left) / width, (pointer.clientY - top) / height))}`;
		};
		if (this.picture.frame.contains(target)) {
			const values = this.shown.map(({ column, heat }) => at(column.text, heat.plane, this.picture.frame));
			return values.length ? `here: ${values.join(" · ")}` : "";
		}
		const spot = this.grid.spotOf(target);
		const place = spot?.row?.places.find(({ value }) => value === spot.value);
		const box = target.closest(".dlw-cell")?.firstElementChild;
		return place?.heat && box ? `here, ${spot.row.label}: ${at(place.text, place.heat.plane, box)}` : "";
	}
	update() {
		const status = this.status();
		const { look, picture, ratio, places, where, what } = this.scene.about(status);
		const empty = status === "empty";
		this.updatePicture();
		this.film.el.hidden = this.scene.single();
		const value = picture?.final ? where : `${where}, ${what}`;
		this.film.update(empty ? holes() : places, look.layer, empty ? "" : value, ratio);
		this.updateGrid(look, status, ratio);
		this.updateControls(empty);
		this.notice.update(this.scene.notices(status), status === "failed");
		const painted = places.filter(({ mark }) => mark === "done").length;
		const left = this.get("progress").seconds_left;
		this.foot.update({
			playable: painted > 1,
			ways: ["layer+", "layer-"],
			grid: false,
			progress: empty || this.scene.single() ? "" : progressText(status, painted, places.length, "layers", left),
			running: status === "running",
			picture: !!picture
		});
	}
	updatePicture() {
		const [settings, status] = [this.get("settings"), this.status()];
		const { look, picture, ratio, place, where, what } = this.scene.about(status);
		const empty = status === "empty";
		const pins = this.scene.pins();
		const on = this.pointed === null || pins.includes(this.pointed) ? pins : [this.pointed];
		this.shown = this.scene.shown(look, on);
		const words = this.shown.map(({ column }) => `“${column.text}”`).join(" and ");
		const facts = empty ? [] : [where, this.scene.lookName(look), what, ...settingFacts(settings)].filter(Boolean);
		const marked = on.flatMap((token) => this.scene.maps.columnOf(token)?.places ?? []);
		this.caption.update(this.get("tokens"), marked, facts, settings.model ?? "");
		this.markChips(pins, on);
		const label = [`${where || "the picture"} of “${this.get("prompt")}”`, words && `where ${words} looks`, what];
		const badge = picture && !picture.final ? what : "";
		const hole = this.scene.hole(status, place);
		this.picture.update(picture, ratio, label.filter(Boolean).join(", "), hole, badge);
		this.showHeat(look);
		this.updateLegend(empty);
	}
	markChips(pins, on) {
		for (const chip of this.caption.el.querySelectorAll(".dlw-chip")) {
			const token = this.scene.maps.columnOf(Number(chip.dataset.index))?.token;
			const ramp = token === void 0 || !on.includes(token) ? -1 : Math.max(0, pins.indexOf(token));
			for (const hue of [0, 1]) chip.classList.toggle(`dlw-hue-${hue}`, ramp === hue);
		}
	}
	showHeat(look) {
		this.root.style.setProperty("--dlw-opacity", String(this.get("opacity")));
		this.heat.hidden = !this.shown.length;
		this.picture.frame.classList.toggle("dlw-over", this.shown.length > 0);
		const heats = this.shown.map(({ heat }) => heat);
		const parts = this.shown.map(({ column, heat }) => [column.token, heat.most, heat.ramp]);
		const version = [this.get("_run"), ...Object.values(look), ...parts].join();
		if (heats.length && version !== this.version) paintHeat(this.heat, heats);
		this.version = heats.length ? version : "";
	}
	updateGrid(look, status, ratio) {
		const pins = this.scene.pins();
		const rows = this.scene.looks();
		this.grid.el.hidden = status === "empty" || !this.scene.columns().length || !rows.length;
		if (this.grid.el.hidden) return;
		const axis = { layers: "layer", blocks: "block", steps: "step" }[this.get("rows")];
		const lines = rows.map((row) => this.scene.row(row, status));
		this.grid.update(axis, lines, this.scene.key(look), this.scene.cursor(), ratio);
		this.grid.mark((token) => pins.indexOf(token));
	}
	updateLegend(empty) {
		this.legend.el.hidden = empty;
		const mean = this.get("aggregator") === "mean";
		const scales = this.shown.map(({ column, heat }) => ({ name: column.text, most: heat.most, ramp: heat.ramp }));
		if (!scales.length && !this.get("per_cell")) scales.push({ name: "", most: this.scene.common(true), ramp: 0 });
		const so = this.status() === "running" ? ", so far" : "";
		const unit = mean ? "share of a pixel’s attention" : "attention, DAAM’s sum over the steps";
		this.legend.update(unit, scales, this.scene.range() + so);
		const hint = "Point at a word to see where it looks; click to keep it.";
		this.legend.tell(this.read() || (this.shown.length ? "" : hint));
	}
	updateControls(empty) {
		const way = "No step was kept by itself: attention=AttentionOptions(steps=[0, 5, 10])";
		const none = this.get("steps").length ? "" : way;
		const single = this.scene.single() ? "A single picture has no layers to compare" : "";
		this.controls.update({
			rows: this.get("rows"),
			refused: { layers: single, steps: none },
			blocks: this.get("blocks"),
			block: this.get("block"),
			special: !this.session.folded,
			perCell: this.get("per_cell"),
			opacity: this.get("opacity"),
			empty
		});
	}
	current() {
		const { layer, block, step } = this.scene.look();
		const picture = this.scene.pictureOf(layer);
		const words = this.shown.map(({ column }) => column.text);
		const parts = [...words, block ?? "", step === null ? "" : `step ${step + 1}`];
		const name = fileName("attention", ...parts, this.scene.name(layer), this.get("prompt"));
		if (!picture || !this.shown.length) return [picture, name];
		return [{ bitmap: overPicture(picture.bitmap, this.heat, this.get("opacity")) }, name];
	}
};
function begin(model) {
	const session = new Session(model, nextLayer("layer"), () => fileName("attention", model.get("prompt")));
	session.folded = true;
	return session;
}
var token_attention_grid_default = widget(begin, (session) => new View(session));
export {
	token_attention_grid_default as default
};
