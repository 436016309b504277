// Rows of one height each, as wide as the page: arithmetic only, nothing of the document.

const NARROW = 0.5; // aspects beyond these are cut: a banner would have a row of its own
const WIDE = 2.6;
const STRETCH = 1.35; // a last row may become so much higher to fill the width

/** The aspect that a picture is shown with; a square where it is not known. */
export function aspect(width, height) {
  return width && height ? Math.min(WIDE, Math.max(NARROW, width / height)) : 1;
}

/**
 * Place pictures in rows.
 *
 * aspects: of the pictures, in order. breaks: numbers of pictures before which a row ends, and
 * room is left for a line. Gives rows {top, height, first, lefts, widths} and the whole height;
 * a row's height is its pictures' and leaves out `foot`, the room below each for words.
 */
export function rows(aspects, { width, target, gap, foot, breaks = new Map() }) {
  const placed = [];
  const marks = [];
  let top = 0;
  let first = 0;
  let sum = 0;
  const close = (end, isLast) => {
    if (end === first) return;
    const inner = width - gap * (end - first - 1);
    const full = inner / sum;
    const height = isLast && full > target * STRETCH ? target : full;
    placed.push(row(aspects, first, end, { top, height, gap }));
    top += height + foot + gap;
    first = end;
    sum = 0;
  };
  aspects.forEach((shape, number) => {
    if (breaks.has(number)) {
      close(number, true);
      marks.push({ top, number });
      top += breaks.get(number);
    }
    const wider = sum + shape;
    const room = width - gap * (number - first);
    // Close before this picture if that leaves the row nearer to the height that is wanted.
    if (sum && room / wider < target && target - room / wider > (room + gap) / sum - target) {
      close(number, false);
    }
    sum += shape;
    if ((width - gap * (number - first)) / sum <= target) close(number + 1, false);
  });
  close(aspects.length, true);
  return { rows: placed, marks, height: Math.max(0, top - gap) };
}

function row(aspects, first, end, { top, height, gap }) {
  const lefts = [];
  const widths = [];
  let left = 0;
  for (let number = first; number < end; number += 1) {
    lefts.push(left);
    widths.push(height * aspects[number]);
    left += height * aspects[number] + gap;
  }
  return { top, height, first, lefts, widths };
}

/** The rows that touch a stretch of the page: [first, last + 1]. */
export function between(placed, from, to, foot) {
  const start = placed.findIndex((one) => one.top + one.height + foot >= from);
  if (start < 0) return [placed.length, placed.length];
  let end = start;
  while (end < placed.length && placed[end].top <= to) end += 1;
  return [start, end];
}

/** The picture of another row that lies nearest below or above one: its number. */
export function beside(placed, number, direction) {
  const from = placed.findIndex((one) => number < one.first + one.widths.length);
  const next = placed[from + direction];
  if (!next) return number;
  const here = placed[from];
  const middle = here.lefts[number - here.first] + here.widths[number - here.first] / 2;
  const distances = next.lefts.map((left, at) => Math.abs(left + next.widths[at] / 2 - middle));
  return next.first + distances.indexOf(Math.min(...distances));
}
