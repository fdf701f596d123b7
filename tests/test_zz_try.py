import asyncio
import pytest
import types; from exports import conf
from exports.doorbell import ring, queue
from channels.layers import get_channel_layer
import os

def test_ring(valkey):
    assert ring("large")
    assert queue("large").pending_count() == 1 if hasattr(queue("large"),"pending_count") else True

async def test_layer(valkey):
    layer = get_channel_layer()
    ch = await layer.new_channel()
    await layer.group_add("exports.x", ch)
    f = asyncio.run_coroutine_threadsafe(layer.group_send("exports.x", {"type":"a"}), LOOP)
    await asyncio.wrap_future(f)
    print(await layer.receive(ch))

async def test_layer2(valkey):
    layer = get_channel_layer()
    ch = await layer.new_channel()
    await layer.group_add("exports.x", ch)
    f = asyncio.run_coroutine_threadsafe(layer.group_send("exports.x", {"type":"a"}), LOOP)
    await asyncio.wrap_future(f)
    print(await layer.receive(ch))

def test_smtp(smtp):
    from django.core.mail import send_mail
    send_mail("x","y","a@b.c",["c@d.e"])
    assert smtp.mails_to("c@d.e")
def test_pg(postgres_url): print(postgres_url)
import threading
LOOP=asyncio.new_event_loop(); threading.Thread(target=LOOP.run_forever,daemon=True).start()
