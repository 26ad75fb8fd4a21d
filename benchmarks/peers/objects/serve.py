"""A real S3 server (moto) on a free port of 127.0.0.1, for the tests of object stores.

Prints one JSON object with its address and credentials, then serves until its standard input ends, so that it never
outlives who started it. With `--guarded` it looks at credentials: `writer` may do everything in the bucket `data`,
`reader` may only read and list it.
"""

import json
import logging
import os
import sys

GUARDED = "--guarded" in sys.argv[1:]
BUCKET = "data"
# While this is being set up everybody may do everything; then it is switched off.
os.environ["INITIAL_NO_AUTH_ACTION_COUNT"] = "1000" if GUARDED else "inf"
for name in list(os.environ):
    if name.startswith("AWS_"):
        del os.environ[name]
os.environ["AWS_EC2_METADATA_DISABLED"] = "true"

from urllib.parse import quote, unquote  # noqa: E402

import boto3  # noqa: E402  (reads the environment)
import requests  # noqa: E402
from moto.iam.access_control import IAMRequestBase  # noqa: E402
from moto.server import ThreadedMotoServer  # noqa: E402

logging.getLogger("werkzeug").setLevel(logging.ERROR)


def encode_query(check):
    """Moto checks signatures against the decoded query, so that none with a slash in it would be right."""

    def checked(self) -> None:
        path, _, query = self._path.partition("?")
        fields = (field.partition("=") for field in query.split("&") if field)
        query = "&".join(f"{name}={quote(unquote(value), safe='-_.~')}" for name, _, value in fields)
        self._path = f"{path}?{query}" if query else path
        check(self)

    return checked


IAMRequestBase.check_signature = encode_query(IAMRequestBase.check_signature)


def policy(*actions: str) -> str:
    statement = {"Effect": "Allow", "Action": list(actions), "Resource": "*"}
    return json.dumps({"Version": "2012-10-17", "Statement": [statement]})


def main() -> None:
    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    endpoint = f"http://{host}:{port}"

    def client(service: str):
        return boto3.client(
            service,
            endpoint_url=endpoint,
            region_name="us-east-1",
            aws_access_key_id="setup",
            aws_secret_access_key="setup",
        )

    client("s3").create_bucket(Bucket=BUCKET)
    users = {}
    if GUARDED:
        iam = client("iam")
        for user, actions in [("reader", ("s3:GetObject", "s3:ListBucket")), ("writer", ("s3:*",))]:
            iam.create_user(UserName=user)
            iam.put_user_policy(UserName=user, PolicyName=user, PolicyDocument=policy(*actions))
            key = iam.create_access_key(UserName=user)["AccessKey"]
            users[user] = [key["AccessKeyId"], key["SecretAccessKey"]]
        requests.post(f"{endpoint}/moto-api/reset-auth", data=b"0", timeout=10).raise_for_status()
    print(json.dumps({"endpoint": endpoint, "bucket": BUCKET, "users": users}), flush=True)
    sys.stdin.read()
    os._exit(0)


main()
