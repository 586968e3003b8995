// What the server tells the page: its strings, and how this chat is deployed (see page_config.py).

// Where a browser lets no page keep anything, this one keeps it as long as it is open.
for (const name of ["sessionStorage", "localStorage"]) {
  try {
    window[name].length;
  } catch {
    const kept = new Map(), getItem = (key) => kept.get(key) ?? null;
    const value = { getItem, setItem: (key, text) => kept.set(key, text), removeItem: (key) => kept.delete(key) };
    Object.defineProperty(window, name, { value });
  }
}

export const config = JSON.parse(document.getElementById("config").textContent);
