"""Fills an empty database for a storm: tables, people with sessions, parcels, the journal. Prints the sessions as JSON.

python -m tests.storm.prepare ROWS PEOPLE
"""

import json
import sys
from importlib import import_module

import django
from django.conf import settings

# So that files are no smaller for being zipped, and hold what has to be quoted.
PARCELS = """
INSERT INTO storm_parcel (number, name, price, day)
SELECT n, 'Päckchen ' || n || ', "' || md5(n::text) || md5((n * 7)::text) || '"', (n * 137 %% 1000000) / 100.0,
    date '2020-01-01' + n %% 2000
FROM generate_series(1, %s) AS n
"""


def main(rows: int, people: int) -> None:
    django.setup()
    from django.core.management import call_command
    from django.db import connection

    from tests.storm.journal import INSTALL

    call_command("migrate", run_syncdb=True, verbosity=0)
    with connection.cursor() as cursor:
        cursor.execute(PARCELS, [rows])
        cursor.execute("ANALYZE storm_parcel")
        cursor.execute(INSTALL)
    print(json.dumps([signed_in(number) for number in range(people)]))


def signed_in(number: int) -> str:
    """The key of the session of a new user."""
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
