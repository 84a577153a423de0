"""Which servers' certificates a client believes: those that the machine's owner has it believe."""

from __future__ import annotations

import os
import ssl

import truststore

from tidenote.errors import ConfigError


def trust_for(url: str) -> ssl.SSLContext | None:
    """Return what believes the operating system's certificates, and those of `SSL_CERT_FILE` and `SSL_CERT_DIR`.

    People who run a server at home have a certificate authority of their own, and install it in their system's store.

    Args:
        url: where to connect to; without TLS there is nothing to believe.

    Raises:
        ConfigError: the environment names certificates that cannot be read.
    """
    if not url.startswith(("https:", "wss:")):
        return None
    context = truststore.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    file, folder = os.environ.get("SSL_CERT_FILE"), os.environ.get("SSL_CERT_DIR")
    if file or folder:
        try:
            context.load_verify_locations(file or None, folder or None)
        except OSError as error:
            why = f"the certificates that SSL_CERT_FILE names cannot be read: {error.strerror or error}"
            raise ConfigError(f"{why}; name others, or none") from error
    return context
