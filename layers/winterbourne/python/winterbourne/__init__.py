"""Response streaming for Python functions on AWS Lambda."""
