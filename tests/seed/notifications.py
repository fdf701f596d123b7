from django.contrib.auth.models import User
from django.core.mail import send_mail


def send_file_ready(user: User, download_url: str, filename: str) -> None:
    send_mail(f"{filename} is ready", f"https://seed.example{download_url}", None, [user.email])
