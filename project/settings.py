"""The settings of the demo site, configured by the environment variables listed in docs/deploying.md."""

import os
from datetime import timedelta
from pathlib import Path

import environ
from csp.constants import NONE, SELF

from exports.conf import DEFAULTS
from exports.queue.redis import sentinel_host
from project import environment, logs

env = environ.Env()

BASE_DIR = Path(__file__).resolve().parent.parent
VAR_DIR = Path(env.str("VAR_DIR", default=str(BASE_DIR / "var"))).absolute()
VAR_DIR.mkdir(mode=0o700, parents=True, exist_ok=True)

# Security
DEBUG = env.bool("DEBUG", default=False)
SECRET_KEY = environment.secret_key(env.str("SECRET_KEY", default=""), debug=DEBUG)
ALLOWED_HOSTS = env.list("ALLOWED_HOSTS", default=["127.0.0.1", "localhost"])
CSRF_TRUSTED_ORIGINS = env.list("CSRF_TRUSTED_ORIGINS", default=[])
X_FRAME_OPTIONS = "DENY"
# Not "no-referrer": browsers then send "Origin: null" with a form, which Django's CSRF check refuses.
SECURE_REFERRER_POLICY = "same-origin"
CONTENT_SECURITY_POLICY = {
    "DIRECTIVES": {
        "default-src": [SELF],
        "script-src": [SELF],
        "style-src": [SELF],
        "img-src": [SELF, "data:"],
        "connect-src": [SELF],
        "object-src": [NONE],
        "base-uri": [NONE],
        "frame-ancestors": [NONE],
        "form-action": [SELF],
    }
}
HTTPS = env.bool("HTTPS", default=False)
SECURE_SSL_REDIRECT = SESSION_COOKIE_SECURE = CSRF_COOKIE_SECURE = HTTPS
if HTTPS:
    # Browsers accept these names only over HTTPS, for this host and all paths: no other host can set such a cookie.
    SESSION_COOKIE_NAME, CSRF_COOKIE_NAME = "__Host-sessionid", "__Host-csrftoken"
# A session ends this long after its user has last opened a page.
SESSION_COOKIE_AGE = env.int("SESSION_IDLE_SECONDS", default=8 * 3600)
SECURE_HSTS_SECONDS = env.int("HSTS_SECONDS", default=30 * 24 * 3600) if HTTPS else 0
# One site cannot decide that all subdomains of its domain use HTTPS.
SILENCED_SYSTEM_CHECKS = ["security.W005", "security.W021"]
if env.bool("BEHIND_PROXY", default=False):
    SECURE_PROXY_SSL_HEADER = ("HTTP_X_FORWARDED_PROTO", "https")

# Application
INSTALLED_APPS = [
    "django.contrib.admin",
    "django.contrib.auth",
    "django.contrib.contenttypes",
    "django.contrib.sessions",
    "django.contrib.messages",
    "django.contrib.staticfiles",
    "axes",
    "channels",
    "django_tables2",
    "exports",
    "project.demo",
]
MIDDLEWARE = [
    "project.probes.Probes",
    "django.middleware.security.SecurityMiddleware",
    "csp.middleware.CSPMiddleware",
    "project.static_files.StaticFiles",
    "django.contrib.sessions.middleware.SessionMiddleware",
    "project.sessions.KeepSessions",
    "django.middleware.locale.LocaleMiddleware",
    "django.middleware.common.CommonMiddleware",
    "django.middleware.csrf.CsrfViewMiddleware",
    "django.contrib.auth.middleware.AuthenticationMiddleware",
    "django.contrib.messages.middleware.MessageMiddleware",
    "django.middleware.clickjacking.XFrameOptionsMiddleware",
    "axes.middleware.AxesMiddleware",
]
ROOT_URLCONF = "project.urls"
ASGI_APPLICATION = "project.asgi.application"
TEMPLATES = [
    {
        "BACKEND": "django.template.backends.django.DjangoTemplates",
        "DIRS": [BASE_DIR / "project" / "templates"],
        "APP_DIRS": True,
        "OPTIONS": {
            "context_processors": [
                "django.template.context_processors.request",
                "django.contrib.auth.context_processors.auth",
                "django.contrib.messages.context_processors.messages",
            ]
        },
    }
]
# Failed logins are logged; after five of one user from one address, more are answered with 429 for some minutes.
AUTHENTICATION_BACKENDS = ["axes.backends.AxesStandaloneBackend", "django.contrib.auth.backends.ModelBackend"]
AXES_FAILURE_LIMIT = 5
AXES_COOLOFF_TIME = timedelta(minutes=5)
AXES_LOCKOUT_PARAMETERS = [["username", "ip_address"]]
# Or all clients behind a proxy would have its address, and anyone could lock out any user.
AXES_CLIENT_IP_CALLABLE = "exports.http.actors.client_address"
AXES_RESET_ON_SUCCESS = True
AXES_HTTP_RESPONSE_CODE = 429
AXES_VERBOSE = False
LOGIN_URL = "login"
LOGIN_REDIRECT_URL = "home"
LOGOUT_REDIRECT_URL = "login"
AUTH_PASSWORD_VALIDATORS = [
    {"NAME": "django.contrib.auth.password_validation.MinimumLengthValidator"},
    {"NAME": "django.contrib.auth.password_validation.CommonPasswordValidator"},
]

# Database
sqlite = {"ENGINE": "django.db.backends.sqlite3", "NAME": str(VAR_DIR / "db.sqlite3")}
DATABASES = {"default": env.db_url("DATABASE_URL") if env.str("DATABASE_URL", default="") else sqlite}
DATABASES["default"]["CONN_HEALTH_CHECKS"] = True
# Under ASGI requests share threads, so a persistent connection would stay open after the request.
DATABASES["default"]["CONN_MAX_AGE"] = 0
if DATABASES["default"]["ENGINE"].endswith("sqlite3"):
    database_options = {
        "timeout": 20,
        "transaction_mode": "IMMEDIATE",
        "init_command": "PRAGMA journal_mode=WAL; PRAGMA synchronous=NORMAL;",
    }
else:
    database_options = {"application_name": "live-exports"}
DATABASES["default"]["OPTIONS"] = database_options | DATABASES["default"].get("OPTIONS", {})
DEFAULT_AUTO_FIELD = "django.db.models.BigAutoField"

# Language and time
LANGUAGE_CODE = env.str("LANGUAGE_CODE", default="en")
LANGUAGES = [
    ("en", "English"), ("de", "German"), ("fr", "French"), ("es", "Spanish"), ("pt", "Portuguese"), ("ar", "Arabic"),
    ("ja", "Japanese"),
]  # fmt: skip
LOCALE_PATHS = [BASE_DIR / "project" / "locale"]
TIME_ZONE = env.str("TIME_ZONE", default="UTC")
USE_TZ = True
USE_I18N = True

# Static files: from their source folders, or with hashed names from STATIC_ROOT after `collectstatic`. JavaScript
# modules import each other by plain names, which browsers cache for a minute only.
STATIC_URL = "/static/"
STATIC_ROOT = env.str("STATIC_ROOT", default="") or None
STATICFILES_DIRS = [BASE_DIR / "project" / "static"]
WHITENOISE_USE_FINDERS = STATIC_ROOT is None
WHITENOISE_ALLOW_ALL_ORIGINS = False

# Finished files: in a private bucket if one is named, else in a folder. Neither has a permanent URL.
exports_folder = {
    "BACKEND": "django.core.files.storage.FileSystemStorage",
    "OPTIONS": {"location": env.str("EXPORTS_ROOT", default=str(VAR_DIR / "exports"))},
}
exports_bucket = {
    "BACKEND": "storages.backends.s3.S3Storage",
    "OPTIONS": {
        "bucket_name": env.str("EXPORTS_S3_BUCKET", default=""),
        "location": env.str("EXPORTS_S3_PREFIX", default="").strip("/"),
        "region_name": env.str("EXPORTS_S3_REGION", default="") or None,
        "endpoint_url": env.str("EXPORTS_S3_ENDPOINT_URL", default="") or None,
        # The default would sign URLs of the global host, which new buckets redirect.
        "addressing_style": "path" if env.bool("EXPORTS_S3_PATH_STYLE", default=False) else "virtual",
        "signature_version": "s3v4",
    },
}
STORAGES = {
    "default": {
        "BACKEND": "django.core.files.storage.FileSystemStorage",
        "OPTIONS": {"location": str(VAR_DIR / "media")},
    },
    "staticfiles": {
        "BACKEND": "whitenoise.storage.CompressedManifestStaticFilesStorage"
        if STATIC_ROOT
        else "django.contrib.staticfiles.storage.StaticFilesStorage"
    },
    "exports": exports_bucket if exports_bucket["OPTIONS"]["bucket_name"] else exports_folder,
}

# Mail: into a folder unless EMAIL_URL names a server.
DEFAULT_FROM_EMAIL = env.str("FROM_EMAIL", default="exports@localhost")
if env.str("EMAIL_URL", default=""):
    mails = env.email_url("EMAIL_URL") | {"EMAIL_TIMEOUT": 30}
else:
    mails = {
        "EMAIL_BACKEND": "django.core.mail.backends.filebased.EmailBackend",
        "EMAIL_FILE_PATH": str(VAR_DIR / "mails"),
    }
globals().update(environment.mail_settings(mails))
# Where the page "Mails" finds them, or None if they are sent.
MAILS_DIR = mails.get("EMAIL_FILE_PATH")

# The queue, the channel layer and the exports
REDIS_URL = env.str("REDIS_URL", default="redis://127.0.0.1:6379/0")
QUEUE_PREFIX = env.str("QUEUE_PREFIX", default="exports")
CHANNEL_LAYERS = {
    "default": {
        "BACKEND": "channels_redis.pubsub.RedisPubSubChannelLayer",
        "CONFIG": {"hosts": [sentinel_host(REDIS_URL) or REDIS_URL], "prefix": QUEUE_PREFIX},
    }
}
EXPORTS = {
    "BASE_URL": env.str("BASE_URL", default="http://127.0.0.1:8000"),
    "REDIS_URL": REDIS_URL,
    "QUEUE_PREFIX": QUEUE_PREFIX,
    "UPLOAD_TO": "generated",
    "QUEUE_KEYS": env.list("QUEUE_KEYS", default=[]) or None,
    "TICKET_KEYS": env.list("TICKET_KEYS", default=[]) or None,
    "AUDIT_KEYS": env.list("AUDIT_KEYS", default=[]) or None,
    "TRUSTED_PROXIES": env.list("TRUSTED_PROXIES", default=[]),
    "WORK_DIR": env.str("WORK_DIR", default=str(VAR_DIR / "work")),
    "FROM_EMAIL": DEFAULT_FROM_EMAIL,
    "ACCEL_REDIRECT": env.str("ACCEL_REDIRECT", default="") or None,
    "METRICS_TOKEN": env.str("EXPORTS_METRICS_TOKEN", default="") or None,
    **environment.numbers(os.environ, DEFAULTS, prefix="EXPORTS_"),
}

LOG_FORMAT = environment.choice(env.str("LOG_FORMAT", default="text"), logs.FORMATS, variable="LOG_FORMAT")
LOG_EXCEPTIONS = environment.choice(
    env.str("LOG_EXCEPTIONS", default=logs.FULL if DEBUG else logs.PLACES), logs.EXCEPTIONS, variable="LOG_EXCEPTIONS"
)
EXPORTS["LOG_EXCEPTIONS"] = LOG_EXCEPTIONS == logs.FULL
LOGGING = logs.configuration(env.str("LOG_LEVEL", default="INFO").upper(), format=LOG_FORMAT, exceptions=LOG_EXCEPTIONS)
