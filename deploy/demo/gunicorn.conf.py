"""How gunicorn serves the demo site; what an older gunicorn doesn't know of this, it leaves out."""

wsgi_app = "newsstand.wsgi:application"
workers = 2
worker_class = "gthread"
# A browser connects ahead of need, and each connection on which nothing comes holds a thread for five seconds.
threads = 12
# Seconds. Longer than any visitor thinks, so that no connection is closed under a request.
keepalive = 60
loglevel = "warning"
# It would be made in the home directory.
control_socket_disable = True
