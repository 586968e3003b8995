"""HTTP on the way in: one request type, a router, and a service that dispatches to endpoints."""
