"""A mail server: aiosmtpd, as Debian has it.

smtpd.py FOLDER USER PASSWORD [CERTIFICATE KEY]

Prints its port, and delivers into a maildir, from who has logged in alone. With a
certificate it takes nothing before STARTTLS.
"""

import asyncio
import ssl
import sys

from aiosmtpd.handlers import Mailbox
from aiosmtpd.smtp import SMTP, AuthResult, LoginPassword

folder, user, password = sys.argv[1:4]
login = LoginPassword(user.encode(), password.encode())
tls = None
if len(sys.argv) > 4:
    tls = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    tls.load_cert_chain(*sys.argv[4:6])


def authenticate(server, session, envelope, mechanism, data):
    return AuthResult(success=data == login, handled=False)


def serve():
    return SMTP(
        Mailbox(folder),
        hostname="mail.example",
        tls_context=tls,
        require_starttls=tls is not None,
        auth_required=True,
        auth_require_tls=tls is not None,
        authenticator=authenticate,
    )


async def main():
    server = await asyncio.get_running_loop().create_server(serve, "127.0.0.1", 0)
    print(server.sockets[0].getsockname()[1], flush=True)
    await server.serve_forever()


asyncio.run(main())
