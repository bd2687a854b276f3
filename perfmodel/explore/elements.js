// Small helpers of the page's parts. Texts come from files: they enter the page as text, never as markup.

/** Return a new element with attributes, properties that begin with a dot, and children. */
function element(tag, attributes = {}, ...children) {
  const made = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) {
    if (name.startsWith(".")) made[name.slice(1)] = value;
    else if (value !== null) made.setAttribute(name, value);
  }
  made.append(...children);
  return made;
}

/** Return a number for readers: three digits, as perfmodel/show.py writes them. */
function format(value) {
  if (value >= 999.5) return Math.round(value).toLocaleString("en-US");
  return value === 0 ? "0" : value.toPrecision(3);
}

const TIME_UNITS = [["s", 1e9], ["ms", 1e6], ["µs", 1e3], ["ns", 1]];

/** Return a size such as 64GiB with a space in it. */
function formatSize(label) {
  return label.replace(/(?<=\d)(?=[A-Z])/, " ");
}

/** Return the unit in which `ns` is at least 1: its name, and its length in ns. */
function timeUnit(ns) {
  return TIME_UNITS.find(([, length]) => ns >= length) ?? TIME_UNITS[3];
}

/** Return a <data> element: three digits to read, the whole number for machines. */
function shown(value, scale = 1) {
  return element("data", {value: String(value)}, format(value / scale));
}

/** Return "value unit (low to high)" as elements. */
function shownInterval({value, low, high}, scale = 1, unit = "") {
  return [shown(value, scale), `${unit} `, element("span", {class: "interval"},
    "(", shown(low, scale), " to ", shown(high, scale), ")")];
}
