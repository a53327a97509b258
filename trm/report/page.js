"use strict";
// Galleries and sliders of the report. trm/scoring/gallery.py says how boards are written as text.
// Nothing is drawn before it comes near the screen: a result may have hundreds of puzzles.

const PAGE = 24; // cards at a time
// px: a cell at least and at most, and the largest grid, unless its cells would be too small.
const ON_CARD = { least: 8, most: 16, board: 132 };
const onScreen = () => ({ least: 0, most: 40, board: Math.min(innerWidth - 72, 560) });
const LARGE_MAZE = 15; // cells a side; from here on S and G are larger than their cells

const svgOf = (() => {
  const holder = document.createElement("template");
  holder.innerHTML = "<svg></svg>";
  const namespace = holder.content.firstChild.namespaceURI;
  return (name, attributes = {}, text = "") => {
    const shape = document.createElementNS(namespace, name);
    for (const [key, value] of Object.entries(attributes)) shape.setAttribute(key, value);
    shape.textContent = text;
    return shape;
  };
})();

function element(name, className, ...children) {
  const made = document.createElement(name);
  made.className = className;
  made.append(...children);
  return made;
}

// --- boards --------------------------------------------------------------------------------------

function newBoard(width, height, label) {
  return svgOf("svg", { viewBox: `-.04 -.04 ${width + 0.08} ${height + 0.08}`, class: "board",
                        role: "img", "aria-label": label });
}

const square = (x, y) => `M${x} ${y}h1v1h-1z`;
const cross = (x, y) => `M${x + 0.2} ${y + 0.2}l.6 .6m0 -.6l-.6 .6`;

/** Rows and columns of lines, the inner ones only. */
function lines(width, height, stepX = 1, stepY = 1) {
  let path = "";
  for (let x = stepX; x < width; x += stepX) path += `M${x} 0v${height}`;
  for (let y = stepY; y < height; y += stepY) path += `M0 ${y}h${width}`;
  return path;
}

const rowsOf = (text) => (text ? text.split("/") : []);

/** One ARC grid; with a truth its wrong cells are struck. */
function drawGrid(text, label, cell, truth = text) {
  const rows = rowsOf(text), right = rowsOf(truth);
  if (!rows.length) return element("div", "empty");
  const width = rows[0].length;
  const board = newBoard(width, rows.length, label);
  board.style.width = `${width * cell}px`;
  const colours = Array(10).fill("");
  let wrong = "";
  rows.forEach((row, y) => [...row].forEach((colour, x) => {
    colours[colour] += square(x, y);
    if (colour !== right[y]?.[x]) wrong += cross(x, y);
  }));
  colours.forEach((path, colour) => {
    if (path) board.append(svgOf("path", { d: path, class: `c${colour}` }));
  });
  board.append(svgOf("path", { d: lines(width, rows.length), class: "grid" }));
  if (wrong) {
    board.append(svgOf("path", { d: wrong, class: "struck under" }));
    board.append(svgOf("path", { d: wrong, class: "struck" }));
  }
  return board;
}

/** Framed; what was answered is struck, and what is right stands beside it, as large. */
function* wrongCell(x, y, answered, right) {
  yield svgOf("rect", { x: x + 0.05, y: y + 0.05, width: 0.9, height: 0.9, class: "framed" });
  yield svgOf("path", { d: `M${x + 0.1} ${y + 0.5}l.42 -.38`, class: "strike" });
  yield svgOf("text", { x: x + 0.3, y: y + 0.47, class: "wrong" }, answered);
  yield svgOf("text", { x: x + 0.69, y: y + 0.88, class: "truth" }, right);
}

/** A symbol in each cell. */
function drawWritten({ side, columns = side, box, style }, { question, answer }, shown, label) {
  const rows = Math.ceil(shown.length / columns), board = newBoard(columns, rows, label);
  [...shown].forEach((symbol, i) => {
    const x = i % columns, y = Math.floor(i / columns);
    const given = question[i] === answer[i], written = symbol === style.blank ? "" : symbol;
    if (style.shaded && given) board.append(svgOf("path", { d: square(x, y), class: "given" }));
    if (symbol !== answer[i]) {
      board.append(...wrongCell(x, y, written, answer[i]));
    } else {
      const at = { x: x + 0.5, y: y + 0.7, class: `digit ${given ? "clue" : "filled"}` };
      board.append(svgOf("text", at, written));
    }
  });
  board.append(svgOf("path", { d: lines(columns, rows), class: "thin" }));
  if (box) board.append(svgOf("path", { d: lines(columns, rows, box[1], box[0]), class: "thick" }));
  board.append(svgOf("rect", { width: columns, height: rows, class: "thick" }));
  return board;
}

/** Walls and a path, as `draw_path` of trm/report/boards.py does. */
function drawPath({ side }, { question, answer }, shown, label) {
  const board = newBoard(side, side, label);
  let walls = "", wrong = "";
  const marks = [];
  [...shown].forEach((character, i) => {
    const x = i % side, y = Math.floor(i / side), truth = answer[i];
    if (question[i] === "#") walls += square(x, y);
    if (character === truth) {
      if (truth === "o") marks.push(svgOf("circle", { cx: x + 0.5, cy: y + 0.5, r: 0.22, class: "onpath" }));
    } else if (truth === "o" && character === ".") {
      marks.push(svgOf("circle", { cx: x + 0.5, cy: y + 0.5, r: 0.3, class: "missed" }));
    } else if (!"SG".includes(truth)) wrong += cross(x, y);
  });
  board.append(svgOf("rect", { width: side, height: side, class: "floor" }));
  board.append(svgOf("path", { d: walls, class: "wall" }));
  marks.push(svgOf("rect", { width: side, height: side, class: "edge" }));
  for (const letter of "SG") {
    const i = question.indexOf(letter), edge = side > LARGE_MAZE ? 0.4 : 0;
    const x = i % side, y = Math.floor(i / side), size = 1 + 2 * edge;
    const box = { x: x - edge, y: y - edge, width: size, height: size };
    marks.push(svgOf("rect", { ...box, class: "end" }));
    // A cross would cover the letter.
    if (shown[i] !== letter) marks.push(svgOf("rect", { ...box, class: "wrong-end" }));
    const letterAt = { x: x + 0.5, y: y + 0.5 + 0.27 * size, "font-size": 0.75 * size };
    marks.push(svgOf("text", { ...letterAt, class: "letter" }, letter));
  }
  board.append(...marks);
  if (wrong) board.append(svgOf("path", { d: wrong, class: "offpath" }));
  return board;
}

// By the name in a kind's style; trm/report/boards.py has the same ones.
const drawings = { written: drawWritten, path: drawPath };

// --- what is said --------------------------------------------------------------------------------

const count = (n, what) => `${n.toLocaleString("en")} ${what}${n === 1 ? "" : "s"}`;
const percent = (share) => `${Math.round(100 * share)}\u202f%`;

/** How many cells of an answer are wrong, in words; empty where none is. */
function mistakes(kind, shown, truth) {
  if (kind === "arc" && !shown) return "no grid"; // also where nobody judges
  if (shown === truth) return "";
  if (kind === "arc") {
    const [a, b] = [rowsOf(shown), rowsOf(truth)];
    const size = (rows) => `${rows.length}×${rows[0].length}`;
    if (size(a) !== size(b)) return `${size(a)} cells, not ${size(b)}`;
  }
  return count([...shown].filter((character, i) => character !== truth[i]).length, "wrong cell");
}

const nameOf = (kind, puzzle) => (kind === "arc" ? puzzle.name : `no.\u00a0${puzzle.name}`);

/** Cells along the sides of every grid; what is no grid has none. */
const sidesOf = (texts) => texts.map(rowsOf).filter((rows) => rows.length)
  .flatMap((rows) => [rows.length, rows[0].length]);

/** Cells across the larger side of a puzzle. */
function sizeOf(gallery, puzzle) {
  return gallery.side || Math.max(...sidesOf([puzzle.question, puzzle.answer]));
}

/** Pixels per cell, the same for every grid of an ARC puzzle so that sizes can be compared. */
function cellOf(puzzle, shown, { least, most, board } = ON_CARD) {
  const texts = [puzzle.question, puzzle.answer, ...shown, ...(puzzle.demonstrations ?? []).flat()];
  return Math.min(most, Math.max(least, board / Math.max(...sidesOf(texts))));
}

// --- cards ---------------------------------------------------------------------------------------

function captioned(board, title, note = "") {
  return element("div", "captioned", element("span", "", title), board, element("small", "", note));
}

function drawBoards(gallery, puzzle, shown, label) {
  return drawings[gallery.style.drawing](gallery, puzzle, shown, label);
}

function drawTask(puzzle, judged, room) {
  const cell = cellOf(puzzle, puzzle.answers, room);
  const demonstrations = element("div", "boards", ...(puzzle.demonstrations ?? []).map(([input, output], i) =>
    element("div", "pair-of-grids",
      captioned(drawGrid(input, `example ${i + 1}`, cell), `example ${i + 1}`),
      captioned(drawGrid(output, `output of example ${i + 1}`, cell), "→ output"))));
  const asked = element("div", "boards",
    captioned(drawGrid(puzzle.question, "test input", cell), "test input"));
  if (judged) asked.append(captioned(drawGrid(puzzle.answer, "truth", cell), "→ truth"));
  puzzle.answers.forEach((attempt, i) => {
    const truth = judged ? puzzle.answer : attempt, wrong = mistakes("arc", attempt, truth);
    const votes = `${count(puzzle.votes?.[i] ?? 0, "vote")}${wrong && `, ${wrong}`}`;
    const board = drawGrid(attempt, `attempt ${i + 1}`, cell, truth);
    asked.append(captioned(board, `attempt ${i + 1}${judged ? (wrong ? " ✗" : " ✓") : ""}`, votes));
  });
  return [demonstrations, asked];
}

function newCard(gallery, puzzle, room) {
  const { kind, judged = true } = gallery;
  const verdict = element("strong", "", judged ? (puzzle.solved ? "Solved ✓" : "Failed ✗") : "");
  const facts = [nameOf(kind, puzzle)];
  if (kind === "arc") {
    facts.push(`${count(puzzle.all_votes ?? 0, "vote")} in all`);
  } else {
    const wrong = mistakes(kind, puzzle.answers[0], puzzle.answer);
    if (wrong) facts.push(wrong);
    facts.push(`halting ${percent(puzzle.q[0])}`);
  }
  const caption = element("figcaption", "", verdict, ` ${facts[0]}`,
                          element("small", "", facts.slice(1).join(", ")));
  const boards = kind === "arc" ? drawTask(puzzle, judged, room)
    : [drawBoards(gallery, puzzle, puzzle.answers[0], `answer to ${facts[0]}`)];
  return element("figure", "card", caption, ...boards);
}

const enlarged = element("dialog", "enlarged");
enlarged.addEventListener("click", ({ target }) => { if (target === enlarged) enlarged.close(); });

function enlarge(gallery, puzzle) {
  const close = element("button", "corner", "Close");
  close.addEventListener("click", () => enlarged.close());
  enlarged.replaceChildren(close, newCard(gallery, puzzle, onScreen()));
  document.body.append(enlarged);
  enlarged.showModal();
}

/** A card with a button that shows it as large as the screen allows. */
function newEnlargeable(gallery, puzzle) {
  const icon = svgOf("svg", { viewBox: "0 0 16 16", "aria-hidden": "true" });
  icon.append(svgOf("path", { d: "M9 2h5v5M14 2l-5 5M7 14h-5v-5M2 14l5 -5" }));
  const button = element("button", "corner icon", icon), card = newCard(gallery, puzzle);
  button.type = "button";
  button.setAttribute("aria-label", `Enlarge ${nameOf(gallery.kind, puzzle)}`);
  button.addEventListener("click", () => enlarge(gallery, puzzle));
  card.prepend(button);
  return card;
}

/** Small boards stand side by side, also on a phone; large ones need the room. */
function makeRoom(cards, { kind, side }) {
  cards.classList.toggle("tasks", kind === "arc");
  const small = "max(10.25rem, min(13rem, 45%))"; // two of them beside each other on a phone
  cards.style.setProperty("--card", side <= 6 ? small : side <= LARGE_MAZE ? "15rem" : "18rem");
}

// --- the gallery of a result ---------------------------------------------------------------------

const SIZES = [5, 10, 15, 20, 25, 30]; // upper ends of the classes to filter by

function fillSizes(select, sizes) {
  const classes = SIZES.filter((end) => sizes.some((size) => size <= end && size > end - 5));
  for (const end of classes) {
    const option = new Option(end > 5 ? `${end - 4} to ${end}` : "up to 5", end);
    select.append(option);
  }
  select.closest("label").hidden = classes.length < 2;
}

function startGallery(section, gallery) {
  const part = (name) => section.querySelector(`.${name}`);
  const cards = part("cards"), more = part("more"), status = part("status");
  const sizes = gallery.puzzles.map((puzzle) => sizeOf(gallery, puzzle));
  let matching = [], drawn = 0;

  function showMore() {
    const next = matching.slice(drawn, drawn + PAGE);
    cards.append(...next.map((puzzle) => newEnlargeable(gallery, puzzle)));
    drawn += next.length;
    more.hidden = drawn >= matching.length;
    more.textContent = `Show ${Math.min(PAGE, matching.length - drawn)} more`;
    status.textContent = matching.length
      ? `Showing ${drawn} of ${count(matching.length, "matching puzzle")}` : "No puzzle matches.";
  }

  function filter() {
    const wanted = section.querySelector("input[type=radio]:checked").value;
    const size = Number(part("size").value), text = part("text").value.trim().toLowerCase();
    const number = text.replace(/^(no\.?|#)\s*/, ""); // as the cards call it
    matching = gallery.puzzles.filter((puzzle, i) =>
      (wanted === "all" || puzzle.solved === (wanted === "solved"))
      && (!size || (sizes[i] <= size && sizes[i] > size - 5))
      && (!text || (gallery.kind === "arc" ? puzzle.name.toLowerCase().includes(text) : puzzle.name === number)));
    cards.replaceChildren();
    drawn = 0;
    showMore();
  }

  if (gallery.judged === false) section.querySelectorAll("fieldset").forEach((choice) => { choice.hidden = true; });
  makeRoom(cards, gallery);
  fillSizes(part("size"), sizes);
  section.addEventListener("input", filter);
  more.addEventListener("click", showMore);
  filter();
}

// --- the slider of a result ----------------------------------------------------------------------

function startThinking(section, thinking) {
  const slider = section.querySelector("input"), status = section.querySelector(".status");
  const cards = section.querySelector(".cards"), { kind, judged = true } = thinking;

  function newThought(puzzle, step) {
    const shown = puzzle.answers[step], truth = judged ? puzzle.answer : shown;
    const wrong = mistakes(kind, shown, truth);
    const name = nameOf(kind, puzzle), found = wrong || (judged ? "every cell right" : "");
    const caption = element("figcaption", "", element("strong", "", judged ? (wrong ? "Wrong ✗" : "Right ✓") : ""), ` ${name}`,
      element("small", "", `${found && `${found}, `}halting ${percent(puzzle.q[step])}`));
    if (kind !== "arc") {
      return element("figure", "card", caption, drawBoards(thinking, puzzle, shown, `answer to ${name}`));
    }
    const cell = cellOf(puzzle, puzzle.answers);
    const answer = captioned(drawGrid(shown, "answer", cell, truth), "answer");
    // Room for the largest answer of all steps: nothing moves under the reader's eyes.
    const all = puzzle.answers.map(rowsOf);
    answer.style.width = `${cell * Math.max(3, ...all.map((rows) => rows[0]?.length ?? 0))}px`;
    answer.style.minHeight = `calc(2em + ${cell * Math.max(...all.map((rows) => rows.length))}px)`;
    const boards = element("div", "boards", captioned(drawGrid(puzzle.question, "input", cell), "input"), answer);
    if (judged) boards.append(captioned(drawGrid(truth, "truth", cell), "truth"));
    return element("figure", "card", caption, boards);
  }

  function show() {
    const step = Number(slider.value) - 1;
    const right = thinking.puzzles.filter((puzzle) => puzzle.answers[step] === puzzle.answer).length;
    const words = `step ${step + 1} of ${slider.max}`;
    slider.setAttribute("aria-valuetext", words);
    const found = judged ? `: ${right} of ${thinking.puzzles.length} right` : "";
    status.textContent = `After ${words}${found}`;
    cards.replaceChildren(...thinking.puzzles.map((puzzle) => newThought(puzzle, step)));
  }

  makeRoom(cards, thinking);
  slider.addEventListener("input", show);
  show();
}

// --- start ---------------------------------------------------------------------------------------

const starts = { gallery: startGallery, thinking: startThinking };
const waiting = new Set(document.querySelectorAll("[data-start]"));

function start(section) {
  if (!waiting.delete(section)) return;
  near.unobserve(section);
  starts[section.dataset.start](section, JSON.parse(document.getElementById(section.dataset.source).textContent));
}

const near = new IntersectionObserver((entries) => {
  for (const { isIntersecting, target } of entries) if (isIntersecting) start(target);
}, { rootMargin: "0px 0px 800px 0px" }); // not above: what grows there would move what is read

for (const section of waiting) {
  section.hidden = false;
  near.observe(section);
}
window.addEventListener("beforeprint", () => [...waiting].forEach(start));
