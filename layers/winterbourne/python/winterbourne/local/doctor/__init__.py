"""Diagnostics of a deployment or a local server: what is wrong, and how to fix it (`make doctor`).

`over_http` checks what callers see, `on_aws` what the owner of the AWS account sees; `findings` defines and formats the
results. The doctor changes nothing, and asks the model one short question.
"""
