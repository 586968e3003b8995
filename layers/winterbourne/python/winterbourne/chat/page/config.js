// What the server tells the page: its strings, and how this chat is deployed.

export const config = JSON.parse(document.getElementById("config").textContent);
