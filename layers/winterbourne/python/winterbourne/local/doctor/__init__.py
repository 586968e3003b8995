"""What is wrong with a deployment or a local server, and how to mend it: `make doctor`.

`over_http` looks as a caller does, `on_aws` as its owner; `findings` says what a finding is and how a list of them
reads. It changes nothing, and asks the model one short question.
"""
