// Opens what is folded, then measures what sticks out, how well every text can be read, and what is said.
for (const folded of document.querySelectorAll("details")) folded.open = true;

const scrolls = (element) => ["auto", "scroll"].includes(getComputedStyle(element).overflowX);
const named = (element) => `${element.tagName}.${element.className} ${element.textContent.slice(0, 40)}`;
const outside = [], spilling = [], boxes = [];
for (const element of document.body.querySelectorAll("*")) {
  if (["SCRIPT", "STYLE"].includes(element.tagName)) continue;
  const box = element.getBoundingClientRect();
  const inBox = element.parentElement.closest(".scroll") !== null;
  if (!inBox && box.width && (box.right > innerWidth + 0.5 || box.left < -0.5)) outside.push(named(element));
  if (scrolls(element)) boxes.push([element.scrollWidth, element.clientWidth, element.tabIndex]);
  else if (element.clientWidth && element.scrollWidth > element.clientWidth + 1) spilling.push(named(element));
}

const rgba = (colour) => {
  const [r, g, b, a = 1] = colour.match(/[\d.]+/g).map(Number);
  return [r, g, b, a];
};
const luminance = ([r, g, b]) => {
  const [x, y, z] = [r, g, b].map((v) => v / 255).map((v) => (v <= 0.04045 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4));
  return 0.2126 * x + 0.7152 * y + 0.0722 * z;
};
const ground = (element) => {
  for (let at = element; at; at = at.parentElement) {
    const colour = rgba(getComputedStyle(at).backgroundColor);
    if (colour[3] === 1) return colour;
  }
  return [255, 255, 255, 1];
};
const contrasts = [], smallest = [];
const texts = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
while (texts.nextNode()) {
  const element = texts.currentNode.parentElement;
  if (!texts.currentNode.data.trim() || element.closest("script")) continue;
  const style = getComputedStyle(element);
  const [high, low] = [luminance(rgba(style.color)), luminance(ground(element))].sort((a, b) => b - a);
  contrasts.push([(high + 0.05) / (low + 0.05), named(element)]);
  smallest.push(parseFloat(style.fontSize));
}

const result = {
  width: innerWidth,
  dark: matchMedia("(prefers-color-scheme: dark)").matches,
  scrollWidth: document.documentElement.scrollWidth,
  clientWidth: document.documentElement.clientWidth,
  height: document.documentElement.scrollHeight,
  outside, spilling, boxes,
  contrast: contrasts.sort((a, b) => a[0] - b[0])[0],
  smallest: Math.min(...smallest),
  text: document.body.innerText,
  cells: [...document.querySelectorAll("td")].filter((cell) => cell.textContent.length > 200).map((c) => c.clientWidth),
  images: [...document.images].map((image) => [image.naturalWidth, image.clientWidth]),
};
const note = document.createElement("pre");
note.id = "probe";
note.textContent = JSON.stringify(result);
document.body.append(note);
