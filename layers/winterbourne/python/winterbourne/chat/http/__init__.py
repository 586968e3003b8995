"""Inbound HTTP: one request type, a router, and a service that dispatches requests to endpoints."""
