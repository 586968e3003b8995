// What the server tells the page: its strings, and how this chat is deployed (see page_config.py).

// Where a browser lets no page keep anything, this one keeps it as long as it is open.
function storage(name) {
  try {
    const found = window[name];
    found.getItem(name);
    return found;
  } catch {
    const kept = new Map(), getItem = (key) => kept.get(key) ?? null;
    return { getItem, setItem: (key, text) => kept.set(key, text), removeItem: (key) => kept.delete(key), clear: () => kept.clear() };
  }
}

/** What is kept as long as this tab is open, and what longer. */
export const tabStorage = storage("sessionStorage");
export const browserStorage = storage("localStorage");
export const config = JSON.parse(document.getElementById("config").textContent);
