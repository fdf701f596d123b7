"""A tiny archive of flights, in the format of the source."""

import io
import tarfile
import zipfile
from pathlib import Path

from project.demo import source

FLIGHTS = """\
year,month,day,dep_time,sched_dep_time,dep_delay,arr_time,sched_arr_time,arr_delay,carrier,flight,tailnum,origin,dest,\
air_time,distance,hour,minute,time_hour
2013,1,1,517,515,2,830,819,11,UA,1545,N14228,EWR,IAH,227,1400,5,15,2013-01-01T10:00:00Z
2013,7,1,NA,2359,NA,NA,350,NA,B6,745,NA,JFK,PSE,NA,1617,23,59,2013-07-02T03:00:00Z
2013,7,2,2400,2359,1,1,350,-9,B6,745,N999ZZ,JFK,IAH,190,1417,23,59,2013-07-03T03:00:00Z
"""
TABLES = {
    "airlines.csv": "carrier,name\nUA,United Air Lines Inc.\nB6,JetBlue Airways\n",
    "airports.csv": (
        "faa,name,lat,lon,alt,tz,dst,tzone\n"
        "EWR,Newark Liberty Intl,40.6925,-74.168667,18,-5,A,America/New_York\n"
        "JFK,John F Kennedy Intl,40.639751,-73.778925,13,-5,A,America/New_York\n"
        "IAH,George Bush Intercontinental,29.984433,-95.341442,97,-6,A,\n"
    ),
    "planes.csv": (
        "tailnum,year,type,manufacturer,model,engines,seats,speed,engine\n"
        "N14228,NA,Fixed wing multi engine,BOEING,737-824,2,149,NA,Turbo-fan\n"
    ),
    "weather.csv": (
        "origin,year,month,day,hour,temp,dewp,humid,wind_dir,wind_speed,wind_gust,precip,pressure,visib,time_hour\n"
        "EWR,2013,1,1,1,39.02,26.06,59.37,270,10.35702,NA,0,NA,10,2013-01-01T06:00:00Z\n"
    ),
}


def write_archive(path: Path, *, flights: str = FLIGHTS) -> Path:
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w") as archive:
        archive.writestr("flights.csv", flights)
    files = {name: text.encode() for name, text in TABLES.items()} | {"flights.csv.zip": packed.getvalue()}
    with tarfile.open(path, "w:gz") as tar:
        for name, content in files.items():
            member = tarfile.TarInfo(f"{source.TABLES}/{name}")
            member.size = len(content)
            tar.addfile(member, io.BytesIO(content))
    return path
