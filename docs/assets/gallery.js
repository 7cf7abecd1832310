// Filters the gallery by words; without this script everything is shown and the tags still work.
(() => {
  const field = document.getElementById("slaf-find");
  if (!field) return;
  field.parentElement.hidden = false;
  const cards = [...document.querySelectorAll(".slaf-card")];
  const count = document.getElementById("slaf-count");
  field.addEventListener("input", () => {
    const words = field.value.toLowerCase().split(/\s+/).filter(Boolean);
    for (const card of cards) card.hidden = !words.every((word) => card.dataset.words.includes(word));
    const left = cards.filter((card) => !card.hidden).length;
    count.textContent = words.length ? `${left} of ${cards.length}` : "";
  });
})();
