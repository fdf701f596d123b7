"""Import path of dj-bgfiles' toolbox."""

from exports.contrib.bgfiles.toolbox import (
    JSONSerializer,
    Signer,
    add_request,
    attach_file,
    attach_local_file,
    create_general_token,
    create_token,
    decode,
    get_default_signer,
    serve,
)

__all__ = [
    "JSONSerializer",
    "Signer",
    "add_request",
    "attach_file",
    "attach_local_file",
    "create_general_token",
    "create_token",
    "decode",
    "get_default_signer",
    "serve",
]
