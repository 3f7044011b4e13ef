// Reads ids from what people paste: one in a line, the first column of a table, or a row of them.

/** The ids of a text, each once, in their order. */
export function parseIds(text: string): string[] {
  const lines = text.split(/\r\n|\r|\n/).map((line) => line.trim()).filter((line) => line !== "");
  const cells = lines.length > 1 ? lines.map((line) => line.split(/[\t;,]/, 1)[0] ?? "") : (lines[0] ?? "").split(/[\s;,]+/);
  const ids = cells.map((cell) => cell.trim().replace(/^"(.*)"$/, "$1").replaceAll('""', '"').trim());
  return [...new Set(ids.filter((id) => id !== ""))];
}
