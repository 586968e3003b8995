"""Measures on a real AWS account what only AWS can settle, and says of each claim whether it holds (`make verify`).

`claims` lists them, `measure_*` measure them, each on a `deployment.Deployment`.
"""
