// The parameter file: the text of the whole set, with what the user has moved in place of what was there.

/** Return the TOML text; each line of `text` is "key = value" in JSON's form, a table's head, or empty. */
function parameterFile(text, moved) {
  if (moved.size === 0) return text;
  const lines = [];
  let table = null;
  for (const line of text.split("\n")) {
    const head = /^\[(?:parameters\.)?([^\]]+)\]$/.exec(line);
    if (head) table = head[1];
    const written = head ? line : movedLine(line, table, moved);
    if (written !== null) lines.push(written);
  }
  return lines.join("\n");
}

/** Return one line as it is to be; null for one that a price known exactly does not have. */
function movedLine(line, table, moved) {
  const key = line.slice(0, line.indexOf(" = "));
  if (table === null) {
    if (key === "core_ghz" && moved.has(key)) return `core_ghz = ${moved.get(key)}`;
    return key === "name" ? line.replace(/"$/, '+set"') : line;
  }
  if (!moved.has(table)) return line;
  if (key === "value") return `value = ${moved.get(table)}`;
  if (key === "distribution") return 'distribution = "fixed"';
  return key === "sigma" ? null : line;
}

/** Hand a text to the user as a file. */
function download(name, text) {
  const link = document.createElement("a");
  link.href = URL.createObjectURL(new Blob([text], {type: "application/toml"}));
  link.download = name;
  link.click();
  setTimeout(() => URL.revokeObjectURL(link.href), 1000);
}
