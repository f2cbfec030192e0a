"""A password hasher for throw-away accounts."""

from django.contrib.auth.hashers import PBKDF2PasswordHasher


class QuickHasher(PBKDF2PasswordHasher):
    """Django's hasher with so few rounds that hundreds of sign-ins cost nothing. Not for real passwords."""

    iterations = 100
