// Elements of the page. Names come from strangers: text is only ever set as text.

export function el(tag, { text, ...attributes } = {}, ...children) {
  const element = document.createElement(tag);
  if (text !== undefined) element.textContent = text;
  for (const [name, value] of Object.entries(attributes)) {
    if (name.startsWith("on")) element.addEventListener(name.slice(2), value);
    else if (name in element) element[name] = value;
    else element.setAttribute(name, value);
  }
  element.append(...children.filter((child) => child !== null));
  return element;
}

export const byId = (id) => document.getElementById(id);

// A slider with its name and its value in words.
export function slider({ id, name, min, max, step, value, words, oninput }) {
  const output = el("output", { text: words(value) });
  const input = el("input", {
    type: "range", id, min, max, step, value,
    oninput: () => {
      output.textContent = words(input.valueAsNumber);
      input.setAttribute("aria-valuetext", output.textContent);
      oninput(input.valueAsNumber);
    },
  });
  input.value = value;
  const set = (given) => {
    input.value = given;
    output.textContent = words(given);
    input.setAttribute("aria-valuetext", output.textContent);
  };
  set(value);
  return { set, input, element: el("div", { className: "slider" }, el("label", { htmlFor: id, text: name }), output, input) };
}

export function button(text, onclick, attributes = {}) {
  return el("button", { type: "button", text, onclick, ...attributes });
}

// One of several, as a row of buttons.
export function choice(id, label, names, chosen, onchoose) {
  const buttons = names.map((name) => button(name, () => (select(name), onchoose(name))));
  const select = (wanted) => names.forEach((name, place) => buttons[place].setAttribute("aria-pressed", name === wanted));
  select(chosen);
  return { select, element: el("div", { id, className: "choice", role: "group", "aria-label": label }, ...buttons) };
}

export const count = (value) => Math.round(value).toLocaleString("en-US");
