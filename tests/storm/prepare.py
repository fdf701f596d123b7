"""Fill an empty database: tables, users with sessions, parcels and the triggers of the transition log.

Prints the session keys as JSON.

python -m tests.storm.prepare ROWS USERS
"""

import json
import sys
from importlib import import_module

import django
from django.conf import settings

# Hashes, so that XLSX files stay large when compressed, and characters that CSV must quote.
PARCELS = """
INSERT INTO storm_parcel (number, name, price, day)
SELECT n, 'Päckchen ' || n || ', "' || md5(n::text) || md5((n * 7)::text) || '"', (n * 137 %% 1000000) / 100.0,
    date '2020-01-01' + n %% 2000
FROM generate_series(1, %s) AS n
"""


def main(rows: int, users: int) -> None:
    django.setup()
    from django.core.management import call_command
    from django.db import connection

    from tests.storm.transition_log import INSTALL

    call_command("migrate", run_syncdb=True, verbosity=0)
    with connection.cursor() as cursor:
        cursor.execute(PARCELS, [rows])
        cursor.execute("ANALYZE storm_parcel")
        cursor.execute(INSTALL)
    print(json.dumps([create_session(number) for number in range(users)]))


def create_session(number: int) -> str:
    """Create a user with a session, and return the session key."""
    from django.contrib.auth import BACKEND_SESSION_KEY, HASH_SESSION_KEY, SESSION_KEY
    from django.contrib.auth.models import User

    user = User.objects.create_user(f"user{number}", f"user{number}@storm.example", "secret")
    session = import_module(settings.SESSION_ENGINE).SessionStore()
    session[SESSION_KEY] = str(user.pk)
    session[BACKEND_SESSION_KEY] = "django.contrib.auth.backends.ModelBackend"
    session[HASH_SESSION_KEY] = user.get_session_auth_hash()
    session.save()
    return session.session_key


if __name__ == "__main__":
    main(int(sys.argv[1]), int(sys.argv[2]))
