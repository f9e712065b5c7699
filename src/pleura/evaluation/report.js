for (const filters of document.querySelectorAll(".filters")) {
  const buttons = filters.querySelectorAll("button");
  for (const button of buttons) {
    button.addEventListener("click", () => {
      const wanted = button.dataset.kind;
      for (const other of buttons) other.setAttribute("aria-pressed", String(other === button));
      for (const tile of filters.parentElement.querySelectorAll("figure[data-kind]")) {
        tile.hidden = wanted !== "all" && tile.dataset.kind !== wanted;
      }
    });
  }
  filters.hidden = buttons.length < 3;
}
