// What the server tells the page: its strings, and how this chat is deployed (see page_config.py).

export const config = JSON.parse(document.getElementById("config").textContent);
