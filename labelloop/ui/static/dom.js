// Building elements. Text only ever goes in as text: names of classes and files may hold anything.

/** An element with properties, attributes (aria-…, data-…, title, …), styles (--name) and children. */
export function h(tag, props = {}, ...children) {
  const element = document.createElement(tag);
  for (const [name, value] of Object.entries(props)) {
    if (value === null || value === undefined || value === false) continue;
    if (name === "class") element.className = value;
    else if (name === "text") element.textContent = value;
    else if (name.startsWith("on")) element.addEventListener(name.slice(2), value);
    else if (name.startsWith("--")) element.style.setProperty(name, value);
    else element.setAttribute(name, value === true ? "" : value);
  }
  element.append(...children.filter((child) => child !== null && child !== undefined));
  return element;
}

/** A button that never takes the keyboard away from the page when it is clicked or tapped. */
export function button(props, ...children) {
  const element = h("button", { type: "button", ...props }, ...children);
  element.addEventListener("pointerdown", (event) => event.preventDefault());
  element.addEventListener("mousedown", (event) => event.preventDefault());
  return element;
}

/** Writes text only where it differs, so that nothing is laid out again for nothing. */
export function setText(element, text) {
  if (element.textContent !== text) element.textContent = text;
}

/** Colour of a class, spread around the circle so that neighbours differ. */
export function hue(index) {
  return String(Math.round((index * 137.508 + 215) % 360));
}

export const percent = (share) => `${Math.round(share * 100)} %`;

export function plural(n, one, many = `${one}s`) {
  return `${n.toLocaleString("en")} ${n === 1 ? one : many}`;
}
