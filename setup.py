# SPDX-License-Identifier: Apache-2.0
"""What colcon installs; name, version and the like are read from package.xml."""

from glob import glob
from runpy import run_path
from xml.etree import ElementTree

from setuptools import find_packages, setup

manifest = ElementTree.parse('package.xml').getroot()
name = manifest.findtext('name')
maintainer = manifest.find('maintainer')
commands = run_path(f'{name}/entry.py')['COMMANDS']

setup(
    name=name,
    version=manifest.findtext('version'),
    description=manifest.findtext('description'),
    license=manifest.findtext('license'),
    maintainer=maintainer.text,
    maintainer_email=maintainer.get('email'),
    packages=find_packages(include=[name, f'{name}.*']),
    package_data={name: ['evaluation/templates/*.html', 'trials/templates/*.html']},
    data_files=[
        ('share/ament_index/resource_index/packages', [f'resource/{name}']),
        (f'share/{name}', ['package.xml']),
        (f'share/{name}/launch', glob('launch/*.launch.py')),
        (f'share/{name}/config', glob('config/*.*')),
        (f'share/{name}/config/nav2', glob('config/nav2/*')),
        (f'share/{name}/config/sros2', glob('config/sros2/*')),
        (f'share/{name}/models', glob('models/*')),
    ],
    python_requires='>=3.10',
    # fleet: build_map --workers, map_tools push and pull;
    # by test colcon test knows how to run the tests
    extras_require={'fleet': ['ray', 'pymilvus', 'milvus-lite'], 'test': ['pytest']},
    zip_safe=False,
    entry_points={
        'console_scripts': [f'{command} = {name}.entry:main' for command in commands],
    },
)
