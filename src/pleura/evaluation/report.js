const filters = document.querySelector(".filters");
const buttons = filters ? filters.querySelectorAll("button") : [];
for (const button of buttons) {
  button.addEventListener("click", () => {
    const wanted = button.dataset.kind;
    for (const other of buttons) other.setAttribute("aria-pressed", String(other === button));
    for (const tile of document.querySelectorAll("figure[data-kind]")) {
      tile.hidden = wanted !== "all" && tile.dataset.kind !== wanted;
    }
  });
}
if (filters) filters.hidden = false;
